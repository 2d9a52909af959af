package cluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestAComponentThatIsHeldIsKilledAndStaysAway(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	ch := &child{
		component: component{
			name: "patient", path: "/bin/sh", grace: time.Second,
			args: []string{"-c", `trap "" TERM; echo x >> "$0"; exec sleep 600`, started},
		},
		logFile: filepath.Join(dir, "log"), pidFile: filepath.Join(dir, "pid"), holdFile: filepath.Join(dir, "hold"),
	}
	starts := func() int {
		b, _ := os.ReadFile(started) // absent before the first start
		return len(b) / len("x\n")
	}
	ch.start()
	t.Cleanup(ch.stop)
	g.Eventually(starts, time.Minute).Should(Equal(1), "it runs")
	g.Eventually(ch.pidFile, time.Minute).Should(BeAnExistingFile())

	g.Expect(os.WriteFile(ch.holdFile, nil, 0o644)).To(Succeed())
	g.Eventually(ch.pidFile, time.Minute).ShouldNot(BeAnExistingFile(), "it is killed")
	g.Consistently(starts, 3*time.Second, 100*time.Millisecond).Should(Equal(1), "longer than the time until a restart")

	g.Expect(os.Remove(ch.holdFile)).To(Succeed())
	g.Eventually(starts, time.Minute).Should(Equal(2), "it runs again")
}

func TestWhatIsHeldCanBeStoppedForGood(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	ch := &child{
		component: component{name: "held", path: "/bin/sh", grace: time.Second, args: []string{"-c", "exit 1"}},
		logFile:   filepath.Join(dir, "log"), pidFile: filepath.Join(dir, "pid"), holdFile: filepath.Join(dir, "hold"),
	}
	g.Expect(os.WriteFile(ch.holdFile, nil, 0o644)).To(Succeed())
	ch.start()
	ch.stop()
	g.Expect(ch.done).To(BeClosed())
	g.Expect(ch.logFile).NotTo(BeAnExistingFile(), "it never ran")
}

func TestOnlyComponentsOfAClusterThatRunsAreHeld(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	g.Expect(c.Stop(t.Context(), "etcd")).To(MatchError(ContainSubstring("does not run")))
	g.Expect(os.MkdirAll(c.path("run"), 0o755)).To(Succeed())
	g.Expect(c.holdFile("etcd")).NotTo(BeAnExistingFile())

	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Symlink(self, c.path("run", "clusterctl"))).To(Succeed())
	g.Expect(os.WriteFile(c.path("run", "supervisor.pid"), []byte(pid()), 0o644)).To(Succeed())
	g.Expect(c.Stop(t.Context(), "etcdd")).
		To(MatchError(And(ContainSubstring(`"etcdd"`), ContainSubstring("containerd, etcd, kube-apiserver"))))
	g.Expect(c.Start(t.Context(), "")).To(MatchError(ContainSubstring("there are containerd")))
	g.Expect(os.WriteFile(c.holdFile("etcd"), nil, 0o644)).To(Succeed())
	g.Expect(c.releaseAll()).To(Succeed())
	g.Expect(c.holdFile("etcd")).NotTo(BeAnExistingFile())
}
