// Package cluster starts, checks, and removes a single-node Kubernetes whose
// programs are in one directory and whose files are all in another.
package cluster

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// DefaultState is the state directory of Up's callers that need no other one.
const DefaultState = "/var/lib/cairn-cluster/state"

// Cluster is the persisted description of a cluster: written by Up, read by
// everything else. Its methods are not safe for concurrent use.
type Cluster struct {
	Bin   string `json:"bin"`   // directory of the programs
	State string `json:"state"` // directory of everything the cluster writes

	NodeName    string `json:"nodeName"`
	Bridge      string `json:"bridge"` // interface that carries NodeIP
	NodeIP      string `json:"nodeIP"` // private to this machine; every server binds here or to loopback
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	APIPort     int    `json:"apiPort"`
	EtcdPort    int    `json:"etcdPort"` // and the next one, for peers

	// Changes to the machine that Down undoes.
	SavedIPForward string `json:"savedIPForward,omitempty"`

	// copies explains why snapshots of volumes are copies; "" if they are points in time.
	copies string
}

// New returns a description with everything but the two directories.
func New() *Cluster {
	return &Cluster{
		NodeName: "cairn", Bridge: "cairn0", NodeIP: "10.201.0.1",
		PodCIDR: "10.202.0.0/24", ServiceCIDR: "10.203.0.0/16",
		APIPort: 6443, EtcdPort: 12379,
	}
}

// Flags adds flags for everything but the two directories.
func (c *Cluster) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.NodeName, "node-name", c.NodeName, "name of the node")
	fs.StringVar(&c.Bridge, "bridge", c.Bridge, "name of the interface made for the node's address")
	fs.StringVar(&c.NodeIP, "node-ip", c.NodeIP, "address of the node; must not collide with a real network")
	fs.StringVar(&c.PodCIDR, "pod-cidr", c.PodCIDR, "addresses of pods")
	fs.StringVar(&c.ServiceCIDR, "service-cidr", c.ServiceCIDR, "addresses of services")
	fs.IntVar(&c.APIPort, "api-port", c.APIPort, "port of the API server on the node's address")
	fs.IntVar(&c.EtcdPort, "etcd-port", c.EtcdPort, "client port of etcd on loopback; the next one is used too")
}

// Load reads the description from a state directory. The error is
// fs.ErrNotExist if there never was a cluster.
func Load(state string) (*Cluster, error) {
	b, err := os.ReadFile(filepath.Join(state, "cluster.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("find a cluster in %s: %w", state, err)
	} else if err != nil {
		return nil, fmt.Errorf("read the cluster's description: %w", err)
	}
	c := &Cluster{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("parse the cluster's description in %s: %w", state, err)
	}
	return c, nil
}

func (c *Cluster) save() error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.path("cluster.json"), append(b, '\n'), 0o644)
}

// Kubeconfig names the self-contained kubeconfig file of a user. The user for
// everything that is not a part of the cluster is "admin".
func (c *Cluster) Kubeconfig(user string) string { return c.path("kubeconfig", user) }

// path names a file in the state directory.
func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.State}, elem...)...)
}

func (c *Cluster) bin(name string) string { return filepath.Join(c.Bin, name) }

func (c *Cluster) apiURL() string {
	return "https://" + net.JoinHostPort(c.NodeIP, fmt.Sprint(c.APIPort))
}

func (c *Cluster) containerdSocket() string { return c.path("run", "containerd.sock") }

func (c *Cluster) csiSocket() string { return c.path("kubelet", "plugins", driverName, "csi.sock") }

const driverName = "minihostpath.csi.cairn.local"

// maxSocketPath is the room for a path in sockaddr_un, without the final zero.
const maxSocketPath = 107

// checkPaths refuses a state directory so deep that a socket in it would have
// too long a path.
func (c *Cluster) checkPaths() error {
	for _, p := range []string{
		c.csiSocket(), c.path("kubelet", "plugins_registry", driverName+"-reg.sock"), c.containerdSocket() + ".ttrpc",
	} {
		if len(p) > maxSocketPath {
			return fmt.Errorf("place socket %s: the path is longer than %d bytes, use a shorter --state", p,
				maxSocketPath)
		}
	}
	return nil
}

// SetPath lets this process find programs that are not in every root shell's
// PATH: nft and runc are in sbin directories.
func SetPath() {
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin") // fails for invalid names only
}

// nthIP returns the nth address of a network.
func nthIP(cidr string, n int) (string, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return "", fmt.Errorf("parse network %q: %w", cidr, err)
	}
	ip := p.Masked().Addr()
	for range n {
		ip = ip.Next()
	}
	return ip.String(), nil
}
