package mover_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/task"
)

// hiddenVariable makes this program the container of a database's image. It holds the socket, and the directories that
// the container does not see.
const hiddenVariable = "CAIRN_TEST_HIDDEN"

// TestThatIsAContainer is the container of isolated.
func TestThatIsAContainer(t *testing.T) {
	asked := os.Getenv(hiddenVariable)
	if asked == "" {
		t.Skip("only isolated runs it")
	}
	g := NewWithT(t)
	paths := filepath.SplitList(asked)
	g.Expect(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")).To(Succeed())
	for _, dir := range paths[1:] {
		g.Expect(syscall.Mount("none", dir, "tmpfs", 0, "")).To(Succeed(), dir)
	}
	s, err := program.Listen(paths[0], slog.New(slog.NewTextHandler(os.Stderr, nil)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Serve(t.Context())).To(Succeed())
}

// isolated runs the programs of a pod in a mount namespace of their own, without what the container of a database's
// image does not mount in the Jobs that Cairn makes.
func (p *pod) isolated() {
	p.t.Helper()
	g := NewWithT(p.t)
	socket := filepath.Join(p.root, task.ProgramSocket)
	hidden := []string{socket}
	for _, dir := range unseenByPrograms(p.t) {
		dir = filepath.Join(p.root, dir)
		g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
		hidden = append(hidden, dir)
	}
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Remove(socket)).To(Succeed())
	cmd := exec.Command(self, "-test.run=^TestThatIsAContainer$")
	cmd.Env = append(os.Environ(), rerun+"=1", hiddenVariable+"="+strings.Join(hidden, string(filepath.ListSeparator)))
	cmd.Stdout, cmd.Stderr = p.t.Output(), p.t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		p.t.Skipf("no mount namespace can be made here: %v", err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	g.Eventually(socket).WithTimeout(time.Minute).Should(BeAnExistingFile(), "the container listens")
}

// unseenByPrograms returns the directories that a mover sees in the Job of a database's backup, and the container of
// the database's image does not, or sees with another volume.
func unseenByPrograms(t testing.TB) []string {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile("../task/moverjob/testdata/backup of a database.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var job batchv1.Job
	g.Expect(yaml.Unmarshal(text, &job)).To(Succeed())
	pod := job.Spec.Template.Spec
	at := slices.IndexFunc(pod.InitContainers, func(c corev1.Container) bool { return c.Name == task.ProgramContainer })
	g.Expect(at).To(BeNumerically(">=", 0))
	var out []string
	for _, m := range pod.Containers[0].VolumeMounts {
		if !slices.ContainsFunc(pod.InitContainers[at].VolumeMounts, func(own corev1.VolumeMount) bool {
			return own.Name == m.Name && own.MountPath == m.MountPath
		}) {
			out = append(out, m.MountPath)
		}
	}
	return out
}

// TestAHostileDumpFindsNoKeys: a dump that somebody else wrote can run commands where psql runs. They find neither the
// password of the repository nor the mover itself.
func TestAHostileDumpFindsNoKeys(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startPostgreSQL(t), withSecret(t)
	p.isolated()
	loot := t.TempDir()
	lines := []string{
		"SELECT 1;",
		`\! find ` + p.root + " -type f -exec cat {} + >" + loot + "/files",
		`\copy (SELECT 1) to program 'cat ` + p.root + "/cairn/encryption/password >" + loot + "/password'",
		`\! echo done >` + loot + `/done`,
	}
	made := p.backUp("snap-1", dumpOf("cat <<'END'\n"+strings.Join(lines, "\n")+"\nEND"))
	load := p.postgres(s, "psql", "--no-psqlrc", "--quiet", "--dbname=postgres")
	result := p.restoreInto(made, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(filepath.Join(loot, "done")).To(BeAnExistingFile(), "the dump ran commands")
	for _, name := range []string{"files", "password"} {
		b, err := os.ReadFile(filepath.Join(loot, name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(b)).NotTo(ContainSubstring("correct horse"), name)
	}
}
