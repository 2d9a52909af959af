package cluster

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// certSpec is one leaf certificate. CN and O are the Kubernetes user and group.
type certSpec struct {
	name, cn, o string
	server      bool
	ips         []string
	dns         []string
	kubeconfig  bool // also write a kubeconfig using it
}

func (c *Cluster) certs() ([]certSpec, error) {
	service, err := nthIP(c.ServiceCIDR, 1)
	if err != nil {
		return nil, err
	}
	return []certSpec{
		{name: "etcd", cn: "etcd", server: true, ips: []string{"127.0.0.1"}},
		{name: "etcd-client", cn: "kube-apiserver-etcd-client"},
		{
			name: "apiserver", cn: "kube-apiserver", server: true,
			ips: []string{c.NodeIP, "127.0.0.1", service},
			dns: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc.cluster.local",
			},
		},
		{name: "apiserver-kubelet", cn: "kube-apiserver-kubelet-client", o: "system:masters"},
		{
			name: "kubelet-server", cn: c.NodeName, server: true, ips: []string{c.NodeIP, "127.0.0.1"},
			dns: []string{c.NodeName},
		},
		{name: "admin", cn: "kubernetes-admin", o: "system:masters", kubeconfig: true},
		{name: "controller-manager", cn: "system:kube-controller-manager", kubeconfig: true},
		{name: "scheduler", cn: "system:kube-scheduler", kubeconfig: true},
		{name: "kubelet", cn: "system:node:" + c.NodeName, o: "system:nodes", kubeconfig: true},
		{name: "proxy", cn: "system:kube-proxy", kubeconfig: true},
		// The storage sidecars and CoreDNS share one powerful identity: this is
		// a throw-away cluster, and upstream's RBAC for them is long.
		{name: "addons", cn: "cairn-addons", o: "system:masters", kubeconfig: true},
	}, nil
}

// pki creates the CA, the leaf certificates, the service account key, and the
// kubeconfigs. Existing files are kept, so a second "up" on the same state
// directory leaves running pods' credentials valid.
func (c *Cluster) pki() error {
	dir := c.path("pki")
	for _, d := range []string{dir, c.path("kubeconfig")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	ca, caKey, err := loadOrCreateCA(filepath.Join(dir, "ca"))
	if err != nil {
		return err
	}
	if err := createServiceAccountKey(filepath.Join(dir, "sa")); err != nil {
		return err
	}
	certs, err := c.certs()
	if err != nil {
		return err
	}
	for _, s := range certs {
		base := filepath.Join(dir, s.name)
		if _, err := os.Stat(base + ".crt"); errors.Is(err, fs.ErrNotExist) {
			if err := issue(base, s, ca, caKey); err != nil {
				return fmt.Errorf("issue certificate %s: %w", s.name, err)
			}
		}
		if s.kubeconfig {
			if err := c.writeKubeconfig(s.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeKubeconfig writes a self-contained kubeconfig: credentials are embedded,
// so the file can be copied elsewhere.
func (c *Cluster) writeKubeconfig(user string) error {
	var encoded []any
	for _, name := range []string{"ca.crt", user + ".crt", user + ".key"} {
		b, err := os.ReadFile(c.path("pki", name))
		if err != nil {
			return fmt.Errorf("write kubeconfig of %s: %w", user, err)
		}
		encoded = append(encoded, base64.StdEncoding.EncodeToString(b))
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: cairn
clusters:
- name: cairn
  cluster:
    server: %[1]s
    certificate-authority-data: %[3]s
users:
- name: %[2]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: cairn
  context: {cluster: cairn, user: %[2]s}
`, append([]any{c.apiURL(), user}, encoded...)...)
	return os.WriteFile(c.Kubeconfig(user), []byte(text), 0o600)
}
