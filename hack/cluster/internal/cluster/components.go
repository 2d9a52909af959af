package cluster

import (
	"fmt"
	"os/exec"
	"time"
)

// component is one supervised process.
type component struct {
	name  string
	path  string
	args  []string
	ready func() error // optional; polled before the next component starts
	// grace is the time from SIGTERM to SIGKILL.
	grace time.Duration
}

// components lists the processes in starting order.
func (c *Cluster) components() []component {
	pki := func(f string) string { return c.path("pki", f) }
	kube := func(name string, ready func() error, args ...string) component {
		return component{
			name: name, path: c.bin("kube"), args: append([]string{name}, args...), ready: ready, grace: stopTimeout,
		}
	}
	etcdURL := fmt.Sprintf("https://127.0.0.1:%d", c.EtcdPort)
	peerURL := fmt.Sprintf("https://127.0.0.1:%d", c.EtcdPort+1)
	containerd, _ := exec.LookPath("containerd") // preflight has checked
	// The API server waits a minute for the watches of pods, which still run. It holds nothing that a kill could lose.
	apiserver := func(args ...string) component {
		server := kube("kube-apiserver", c.apiReady, args...)
		server.grace = time.Second
		return server
	}
	return []component{
		{
			name: "containerd", path: containerd, args: []string{"--config", c.path("config", "containerd.toml")},
			ready: socketReady(c.containerdSocket()), grace: stopTimeout,
		},
		kube("etcd", tcpReady(fmt.Sprintf("127.0.0.1:%d", c.EtcdPort)),
			"--data-dir", c.path("etcd"),
			"--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
			"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster",
			"default="+peerURL,
			"--cert-file", pki("etcd.crt"), "--key-file", pki("etcd.key"), "--client-cert-auth", "--trusted-ca-file",
			pki("ca.crt"),
			"--peer-cert-file", pki("etcd.crt"), "--peer-key-file", pki("etcd.key"), "--peer-client-cert-auth",
			"--peer-trusted-ca-file", pki("ca.crt"),
			"--unsafe-no-fsync", // a test cluster's data need not survive a power cut
			"--log-level", "warn"),
		apiserver(
			"--advertise-address", c.NodeIP, "--bind-address", c.NodeIP, "--secure-port", fmt.Sprint(c.APIPort),
			"--etcd-servers", etcdURL, "--etcd-cafile", pki("ca.crt"), "--etcd-certfile", pki("etcd-client.crt"),
			"--etcd-keyfile", pki("etcd-client.key"),
			"--client-ca-file", pki("ca.crt"), "--tls-cert-file", pki("apiserver.crt"), "--tls-private-key-file",
			pki("apiserver.key"),
			"--kubelet-client-certificate", pki("apiserver-kubelet.crt"), "--kubelet-client-key",
			pki("apiserver-kubelet.key"),
			"--kubelet-certificate-authority", pki("ca.crt"), "--kubelet-preferred-address-types", "InternalIP",
			"--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file", pki("sa.pub"), "--service-account-signing-key-file", pki("sa.key"),
			"--service-cluster-ip-range", c.ServiceCIDR, "--authorization-mode", "Node,RBAC",
			"--enable-admission-plugins", "NodeRestriction", "--allow-privileged=true", "--profiling=false"),
		kube("kube-controller-manager", nil,
			"--kubeconfig", c.Kubeconfig("controller-manager"), "--leader-elect=false", "--secure-port=0",
			"--root-ca-file", pki("ca.crt"), "--service-account-private-key-file", pki("sa.key"),
			"--use-service-account-credentials",
			"--cluster-signing-cert-file", pki("ca.crt"), "--cluster-signing-key-file", pki("ca.key")),
		kube("kube-scheduler", nil, "--kubeconfig", c.Kubeconfig("scheduler"), "--leader-elect=false",
			"--secure-port=0"),
		kube("kubelet", nil,
			"--config", c.path("config", "kubelet.yaml"), "--kubeconfig", c.Kubeconfig("kubelet"),
			"--root-dir", c.path("kubelet"), "--hostname-override", c.NodeName, "--node-ip", c.NodeIP),
		kube("kube-proxy", nil, "--config", c.path("config", "proxy.yaml")),
		{
			name: "coredns", path: c.bin("coredns"), args: []string{"-conf", c.path("config", "Corefile")},
			grace: stopTimeout,
		},
		{
			name: "minihostpath", path: c.bin("minihostpath"), args: []string{
				"-endpoint", c.csiSocket(), "-registration-dir", c.path("kubelet", "plugins_registry"),
				"-name", driverName, "-node", c.NodeName, "-data", c.volumesDir(),
			},
			ready: socketReady(c.csiSocket()), grace: stopTimeout,
		},
		{name: "csi-provisioner", path: c.bin("csi-provisioner"), grace: stopTimeout, args: []string{
			"--kubeconfig", c.Kubeconfig("addons"), "--csi-address", c.csiSocket(), "--leader-election=false",
		}},
		{name: "csi-snapshotter", path: c.bin("csi-snapshotter"), grace: stopTimeout, args: []string{
			"--kubeconfig", c.Kubeconfig("addons"), "--csi-address", c.csiSocket(), "--leader-election=false",
			// Tests make the driver hang and fail. They wait for the next try.
			"--timeout", "10s", "--retry-interval-max", "10s",
		}},
		{name: "snapshot-controller", path: c.bin("snapshot-controller"), grace: stopTimeout, args: []string{
			"--kubeconfig", c.Kubeconfig("addons"), "--leader-election=false",
		}},
	}
}
