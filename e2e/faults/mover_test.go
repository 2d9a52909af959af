package faults

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// The environment that makes the test program a mover: the root of its container, its task's kind and the API server.
// The mover's own program only knows the paths of a container, so moverMain takes the place of its main.
const (
	envMoverRoot = "CAIRN_FAULTS_MOVER_ROOT"
	envMoverKind = "CAIRN_FAULTS_MOVER_KIND"
	envMoverAPI  = "CAIRN_FAULTS_MOVER_API"
)

const moverNamespace = "movers"

// moverMain is what cmd/mover does, below a directory.
func moverMain(root string) int {
	client, err := dynamic.NewForConfig(&rest.Config{Host: os.Getenv(envMoverAPI)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	m := &mover.Mover{
		Root: root, TerminationPath: filepath.Join(root, "termination-log"), Driver: kopia.Driver{}, Now: time.Now,
		Log:    slog.New(slog.NewJSONHandler(os.Stdout, nil)),
		Status: report.APIStatus{Client: client, Namespace: moverNamespace},
	}
	return m.Run(context.Background(), task.Kind(os.Getenv(envMoverKind)), mover.Flags{})
}

// container is the file system of a mover, with the storage in it.
type container struct {
	root string
	api  string
}

func (c container) write(t testing.TB, name, content string) {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join(c.root, name)
	g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(file, []byte(content), 0o600)).To(Succeed())
}

// start runs a task in a process of its own.
func (c container) start(t testing.TB, k task.Task) *exec.Cmd {
	t.Helper()
	g := NewWithT(t)
	text, err := task.Encode(k)
	g.Expect(err).NotTo(HaveOccurred())
	c.write(t, "cairn/task/task.json", text)
	c.write(t, "termination-log", "")
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envMoverRoot+"="+c.root, envMoverKind+"="+string(k.Kind), envMoverAPI+"="+c.api)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	g.Expect(cmd.Start()).To(Succeed())
	return cmd
}

// run does a task and returns its Result.
func (c container) run(t testing.TB, k task.Task) *task.Result {
	t.Helper()
	g := NewWithT(t)
	g.Expect(c.start(t, k).Wait()).To(Succeed())
	message, err := os.ReadFile(filepath.Join(c.root, "termination-log"))
	g.Expect(err).NotTo(HaveOccurred())
	result, err := task.DecodeResult(string(message))
	g.Expect(err).NotTo(HaveOccurred())
	return result
}

// stored is the size of all that lies in the storage.
func (c container) stored(t testing.TB) (size int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(c.root, "cairn/storage"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return size
}

// backups are the snapshots in the repository that carry a Snapshot's tag.
func (c container) backups(t testing.TB, k task.Task) []repository.Snapshot {
	t.Helper()
	g := NewWithT(t)
	local := repository.Storage{
		Local: &repository.Local{Path: filepath.Join(c.root, "cairn/storage"), Prefix: k.Storage.Spec.Local.SubPath},
	}
	engine, err := kopia.Driver{}.Open(t.Context(), repository.Repository{
		Storage: local.Sub(k.Repository.Directory + "/kopia"), Password: "correct horse", WorkDir: t.TempDir(),
		ReadOnly: true,
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = engine.Close(t.Context()) }()
	found, err := engine.FindByTags(t.Context(), map[string]string{judge.TagSnapshotUID: string(k.Snapshot.UID)})
	g.Expect(err).NotTo(HaveOccurred())
	all, err := engine.List(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all).To(HaveLen(len(found)), "nothing else is in the repository")
	return found
}

// moverTask is a backup of one volume to a storage in a directory.
func moverTask(snapshot *v1alpha1.Snapshot) task.Task {
	return task.Task{
		Kind: task.KindBackup, Cluster: "cluster", Namespace: snapshot.Namespace,
		Storage: task.Storage{Namespace: snapshot.Namespace, Name: "disk", UID: "storage", Spec: v1alpha1.Storage{
			Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{SubPath: "backups"},
		}},
		Repository: &task.Repository{
			Name: "repo", UID: "repository", Directory: "shop/web", Driver: v1alpha1.DriverKopia,
			AppRef: snapshot.Spec.AppRef,
		},
		Snapshot:   &task.Snapshot{Name: snapshot.Name, UID: snapshot.UID, Spec: &snapshot.Spec},
		Components: []task.Component{{Name: "pvc"}},
	}
}

// A mover is killed when its data is written and its first report is on the way. The next mover does not repeat the
// work: it finds the backup, sends no data, and reports the backup.
func TestMoverKilledBeforeReport(t *testing.T) {
	begun(t)
	t.Parallel()
	g := NewWithT(t)
	api, url := east.another(t)
	k, c := newMover(t, url)
	stop := api.arm(false, func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/snapshots/"+k.Snapshot.Name+"/status") &&
			has(r, `"Succeeded"`)
	})
	first := c.start(t, k)
	g.Eventually(stop.reached, patience).Should(BeClosed(), "the mover reports")
	g.Expect(first.Process.Kill()).To(Succeed())
	g.Expect(first.Wait()).To(MatchError("signal: killed"))
	api.disarm(stop)

	var snapshot v1alpha1.Snapshot
	snapshot.Namespace, snapshot.Name = k.Namespace, k.Snapshot.Name
	g.Expect(get(g, t, &east, &snapshot).Status.Components["pvc"].Phase).
		To(Equal(v1alpha1.SnapshotRunning), "nobody knows")
	g.Expect(os.ReadFile(filepath.Join(c.root, "termination-log"))).To(BeEmpty(), "nobody knows")
	written := c.backups(t, k)
	g.Expect(written).To(HaveLen(1), "but it is there")
	before := c.stored(t)
	g.Expect(before).To(BeNumerically(">", 8<<20))

	result := c.run(t, k)
	g.Expect(result.Components).To(HaveLen(1))
	g.Expect(result.Components[0].ID).To(Equal(written[0].ID), "the same backup")
	g.Expect(result.Components[0].UploadedBytes).To(BeNumerically("<", 64<<10))
	g.Expect(c.stored(t)-before).To(BeNumerically("<", 64<<10), "what the second mover added, in bytes")
	g.Expect(c.backups(t, k)).To(HaveLen(1), "one complete backup")
	reported := get(g, t, &east, &snapshot).Status.Components["pvc"]
	g.Expect(reported.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(reported.ID).To(Equal(written[0].ID))
	g.Expect(reported.SizeBytes).To(Equal(written[0].Bytes))
}

// newMover makes the container of a mover, with a repository and a volume of some size, and the Snapshot to make.
func newMover(t testing.TB, api string) (task.Task, container) {
	t.Helper()
	g := NewWithT(t)
	snapshot := &v1alpha1.Snapshot{Spec: v1alpha1.SnapshotSpec{
		SnapshotID: "01", Repository: "repo", Session: "nightly", BackupSession: "run", Version: "v1",
		AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "web"},
	}}
	snapshot.Namespace, snapshot.Name = east.named(t, moverNamespace), "repo-run"
	east.Create(t, snapshot)
	k := moverTask(snapshot)
	c := container{root: t.TempDir(), api: api}
	for _, dir := range []string{"cairn/storage", "tmp"} {
		g.Expect(os.MkdirAll(filepath.Join(c.root, dir), 0o755)).To(Succeed())
	}
	c.write(t, "cairn/encryption/password", "correct horse\n")
	for i := range 40 {
		c.write(t, fmt.Sprintf("cairn/volumes/pvc/%d", i), noise(int64(i), 256<<10))
	}
	for _, kind := range []task.Kind{task.KindInitStorage, task.KindInitRepository} {
		init := k
		init.Kind, init.Snapshot, init.Components = kind, nil, nil
		g.Expect(c.run(t, init).Outcome).To(Equal(task.OutcomeSucceeded))
	}
	return k, c
}

// noise is content that nothing can compress.
func noise(seed int64, size int) string {
	b := make([]byte, size)
	_, _ = rand.New(rand.NewSource(seed)).Read(b)
	return string(b)
}
