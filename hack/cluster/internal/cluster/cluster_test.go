package cluster

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func in(state string) *Cluster {
	c := New()
	c.Bin, c.State = "/bin-dir", state
	return c
}

func TestADeepStateDirectoryIsRefused(t *testing.T) {
	g := NewWithT(t)
	g.Expect(in(DefaultState).checkPaths()).To(Succeed())
	g.Expect(in("/" + strings.Repeat("d", 60)).checkPaths()).To(MatchError(ContainSubstring("longer than 107 bytes")))
}

func TestADescriptionSurvivesOnDisk(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	c.SavedIPForward = "0"
	g.Expect(c.save()).To(Succeed())
	g.Expect(Load(c.State)).To(Equal(c))
	_, err := Load(t.TempDir())
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}

func TestDownWithoutAClusterSucceeds(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	g.Expect(Down(&out, t.TempDir(), true)).To(Succeed())
	g.Expect(out.String()).To(HavePrefix("nothing to do"))
}

func TestOnlyOneWorksOnAStateDirectory(t *testing.T) {
	g := NewWithT(t)
	state := filepath.Join(t.TempDir(), "state")
	unlock, err := lock(state)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = lock(state)
	g.Expect(err).To(MatchError(ContainSubstring("another clusterctl")))
	unlock()
	unlock, err = lock(state)
	g.Expect(err).NotTo(HaveOccurred())
	unlock()
}

func TestMountsBelow(t *testing.T) {
	g := NewWithT(t)
	const mountinfo = `22 1 0:20 / / rw - ext4 /dev/vda rw
30 22 0:21 / /state/a rw - tmpfs tmpfs rw
31 30 0:22 / /state/a/with\040space rw - tmpfs tmpfs rw
32 22 0:23 / /state-of-another rw - tmpfs tmpfs rw
33 22 0:24 / /state rw - tmpfs tmpfs rw
`
	g.Expect(mountsBelow(mountinfo, "/state")).To(Equal([]string{"/state/a", "/state/a/with space"}))
}

func TestCertificatesAreMadeOnce(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	read := func() map[string]string {
		files := map[string]string{}
		for _, pattern := range []string{"pki/*", "kubeconfig/*"} {
			names, err := filepath.Glob(c.path(pattern))
			g.Expect(err).NotTo(HaveOccurred())
			for _, n := range names {
				b, err := os.ReadFile(n)
				g.Expect(err).NotTo(HaveOccurred())
				files[n] = string(b)
			}
		}
		return files
	}
	g.Expect(c.pki()).To(Succeed())
	first := read()
	g.Expect(first).To(HaveKey(c.path("pki", "apiserver.crt")))
	g.Expect(first[c.Kubeconfig("admin")]).To(ContainSubstring("server: https://10.201.0.1:6443\n"))
	g.Expect(c.pki()).To(Succeed())
	g.Expect(read()).To(Equal(first))

	c.ServiceCIDR = "nonsense"
	g.Expect(c.pki()).To(MatchError(ContainSubstring(`parse network "nonsense"`)))
}

func TestAProcessIsKnownByItsProgram(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Mkdir(c.path("run"), 0o755)).To(Succeed())
	g.Expect(c.pidOf("me", self)).To(BeZero(), "no pid file")
	g.Expect(os.WriteFile(c.path("run", "me.pid"), []byte("self\n"), 0o644)).To(Succeed())
	g.Expect(c.pidOf("me", self)).To(BeZero(), "no number")
	g.Expect(os.WriteFile(c.path("run", "me.pid"), []byte(pid()), 0o644)).To(Succeed())
	g.Expect(c.pidOf("me", self)).To(Equal(os.Getpid()))
	g.Expect(c.pidOf("me", "/bin/sh")).To(BeZero(), "the pid belongs to another program now")
}

func pid() string {
	link, _ := os.Readlink("/proc/self") // always there on Linux
	return link
}

func TestPodsNetworksCanBeTakenAwayWithoutTheCache(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	c.Bin = t.TempDir()
	for _, name := range cniPlugins {
		g.Expect(os.WriteFile(c.bin(name), []byte(name), 0o755)).To(Succeed())
	}
	g.Expect(os.MkdirAll(c.path("cni", "bin"), 0o755)).To(Succeed())
	g.Expect(c.keepCNIPlugins()).To(Succeed())
	g.Expect(os.RemoveAll(c.Bin)).To(Succeed())
	for _, name := range cniPlugins {
		g.Expect(c.path("cni", "bin", name)).To(BeAnExistingFile())
	}
	g.Expect(c.containerdConfig("/runc")).To(ContainSubstring(c.path("cni", "bin")))
}

func TestAProcessThatGoesOnIsKilledAfterItsGrace(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	trapped := filepath.Join(dir, "trapped")
	ch := &child{
		component: component{
			name: "stubborn", path: "/bin/sh", grace: 100 * time.Millisecond,
			args: []string{"-c", `trap "" TERM; : > "$0"; exec sleep 600`, trapped},
		},
		logFile: filepath.Join(dir, "log"), pidFile: filepath.Join(dir, "pid"),
	}
	ch.start()
	g.Eventually(trapped, time.Minute).Should(BeAnExistingFile())
	ch.stop()
	g.Expect(ch.done).To(BeClosed())
	g.Expect(ch.pidFile).NotTo(BeAnExistingFile())
}

func TestEveryComponentHasAGrace(t *testing.T) {
	for _, comp := range in(t.TempDir()).components() {
		NewWithT(t).Expect(comp.grace).To(BeNumerically(">", 0), comp.name)
	}
}
