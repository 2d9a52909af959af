package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// cniPlugins are the programs that give pods their network and take it away.
var cniPlugins = []string{"ptp", "host-local", "loopback", "portmap"}

// keepCNIPlugins copies the CNI plugins into the state directory, so that "down" can take pods' networks away even if
// the directory of the built programs, which is a cache, is gone.
func (c *Cluster) keepCNIPlugins() error {
	for _, name := range cniPlugins {
		if err := copyFile(c.bin(name), c.path("cni", "bin", name), 0o755); err != nil {
			return fmt.Errorf("keep the CNI plugin %s: %w", name, err)
		}
	}
	return nil
}

// writeConfigs renders every configuration file into the state directory.
func (c *Cluster) writeConfigs() error {
	for _, d := range []string{
		"config", "run", "log", "cni/net.d", "cni/bin", "cni/ipam", "kubelet/plugins_registry", "kubelet/volumeplugins",
	} {
		if err := os.MkdirAll(c.path(d), 0o755); err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	if err := c.keepCNIPlugins(); err != nil {
		return err
	}
	files := map[string]string{
		"config/containerd.toml":      c.containerdConfig(runc),
		"cni/net.d/10-cairn.conflist": c.cniConfig(),
		"config/kubelet.yaml":         c.kubeletConfig(),
		"config/proxy.yaml":           c.proxyConfig(),
		"config/Corefile":             c.corefile(),
		"config/addons.yaml":          c.addonsManifest(),
		// Pods must not inherit the host's search domains.
		"config/resolv.conf": "# empty on purpose\n",
	}
	for name, text := range files {
		if err := os.WriteFile(c.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// cgroupVersion is 2 on the unified hierarchy and 1 on legacy and hybrid ones.
func cgroupVersion() int {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return 2
	}
	return 1
}

// containerdConfig is in version 2 of the format, which 1.6 and 1.7 speak and
// 2.x migrates on the fly.
func (c *Cluster) containerdConfig(runc string) string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
]

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = %t
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = %q
        SystemdCgroup = false
`, c.path("containerd"), c.path("run", "containerd"), c.containerdSocket(), pauseImage, !canLowerOOMScore(),
		c.path("cni", "bin"), c.path("cni", "net.d"), runc)
}

// canLowerOOMScore reports whether this process has CAP_SYS_RESOURCE. Root in a
// VM or container sandbox often lacks it, and then runc cannot give the pause
// container its score of -998 and dies without a usable message ("can't get
// final child's PID from pipe: EOF").
func canLowerOOMScore() bool {
	const capSysResource = 24
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(b), "\n") {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && caps&(1<<capSysResource) != 0
		}
	}
	return false
}

// cniConfig gives each pod a point-to-point veth. Unlike with a bridge, traffic
// between two pods is routed through the host, so that service addresses are
// translated back without br_netfilter. No masquerading: pods talk to pods, to
// services, and to the host, and there is nothing else to reach. Set ipMasq to
// let them out.
func (c *Cluster) cniConfig() string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "cairn",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "dataDir": %q,
        "ranges": [[{"subnet": %q}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}
  ]
}
`, c.path("cni", "ipam"), c.PodCIDR)
}

func (c *Cluster) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
healthzBindAddress: 127.0.0.1
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[2]s}
authorization: {mode: Webhook}
tlsCertFile: %[3]s
tlsPrivateKeyFile: %[4]s
containerRuntimeEndpoint: unix://%[5]s
clusterDomain: cluster.local
clusterDNS: [%[1]s]
resolvConf: %[6]s
podLogsDir: %[7]s
volumePluginDir: %[8]s
# cgroups: the driver must match containerd's SystemdCgroup = false. Kubernetes
# 1.35 and later refuse cgroup v1 hosts unless told otherwise.
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
# A test machine's disk may be almost full, and a local image that was garbage
# collected cannot be pulled again: never collect, never evict for disk space.
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 100Mi
  nodefs.available: "0%%"
  nodefs.inodesFree: "0%%"
  imagefs.available: "0%%"
  imagefs.inodesFree: "0%%"
# Notice Secret and ConfigMap changes, and end pods, quickly.
syncFrequency: 10s
shutdownGracePeriod: 0s
serializeImagePulls: false
enableServer: true
# Do not touch the host's vm.* and kernel.* settings.
protectKernelDefaults: false
makeIPTablesUtilChains: false
`, c.NodeIP, c.path("pki", "ca.crt"), c.path("pki", "kubelet-server.crt"), c.path("pki", "kubelet-server.key"),
		c.containerdSocket(), c.path("config", "resolv.conf"), c.path("log", "pods"),
		c.path("kubelet", "volumeplugins"))
}

func (c *Cluster) proxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %s}
hostnameOverride: %s
clusterCIDR: %s
detectLocalMode: ClusterCIDR
bindAddress: %s
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nodePortAddresses: [%s/32]
`, c.Kubeconfig("proxy"), c.NodeName, c.PodCIDR, c.NodeIP, c.NodeIP)
}

// corefile answers for the cluster, for host.cairn.internal (this machine, as
// seen from pods), and forwards the rest if the machine has a resolver.
func (c *Cluster) corefile() string {
	forward := ""
	if b, err := os.ReadFile("/etc/resolv.conf"); err == nil && strings.Contains("\n"+string(b), "\nnameserver ") {
		forward = "    forward . /etc/resolv.conf\n"
	}
	return fmt.Sprintf(`.:53 {
    bind %[1]s
    errors
    hosts {
        %[1]s host.cairn.internal
        fallthrough
    }
    kubernetes cluster.local in-addr.arpa {
        kubeconfig %[2]s
        pods insecure
        fallthrough in-addr.arpa
        ttl 5
    }
%[3]s    cache 5
}
`, c.NodeIP, c.Kubeconfig("addons"), forward)
}
