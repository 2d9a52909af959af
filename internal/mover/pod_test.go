package mover_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// reports keeps what a mover reported to the API server.
type reports struct {
	mu        sync.Mutex
	snapshots map[string][]v1alpha1.Component
	restores  map[string][]v1alpha1.RestoredComponent
	fail      bool
	told      func()
	accepts   *int // reports before the manager gives the mover up
}

func (r *reports) Snapshot(_ context.Context, _ task.Object, name string, c v1alpha1.Component) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshots[name] = append(r.snapshots[name], c)
	return r.answer()
}

func (r *reports) Restore(_ context.Context, _ task.Object, name string, c v1alpha1.RestoredComponent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restores[name] = append(r.restores[name], c)
	return r.answer()
}

func (r *reports) answer() error {
	if r.told != nil {
		r.told()
	}
	if r.accepts != nil {
		if *r.accepts == 0 {
			return report.ErrFenced
		}
		*r.accepts--
	}
	if r.fail {
		return errors.New("the API server is away")
	}
	return nil
}

// pod is the file system of a mover's container, with a storage in a directory.
type pod struct {
	t       testing.TB
	root    string
	reports *reports
	log     strings.Builder
	mover   *mover.Mover
}

func newPod(t testing.TB) *pod {
	t.Helper()
	p := &pod{
		t: t, root: t.TempDir(),
		reports: &reports{
			snapshots: map[string][]v1alpha1.Component{}, restores: map[string][]v1alpha1.RestoredComponent{},
		},
	}
	for _, dir := range []string{"cairn/storage", "cairn/encryption", "cairn/task", "tmp"} {
		NewWithT(t).Expect(os.MkdirAll(filepath.Join(p.root, dir), 0o755)).To(Succeed())
	}
	p.write("cairn/encryption/password", "correct horse\n")
	p.write("termination-log", "")
	p.mover = &mover.Mover{
		Root: p.root, TerminationPath: filepath.Join(p.root, "termination-log"),
		Driver: kopia.Driver{}, Status: p.reports, Now: time.Now,
		Log:        slog.New(slog.NewJSONHandler(io.MultiWriter(&p.log, t.Output()), nil)),
		Privileged: os.Geteuid() == 0,
	}
	p.programs()
	return p
}

// programs runs the container of the database's image until the test ends. It shares the file system of the mover.
func (p *pod) programs() {
	p.t.Helper()
	g := NewWithT(p.t)
	socket := filepath.Join(p.root, task.ProgramSocket)
	g.Expect(os.MkdirAll(filepath.Dir(socket), 0o755)).To(Succeed())
	s, err := program.Listen(socket, slog.New(slog.DiscardHandler))
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	p.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("the container of the programs: %v", err)
		}
	})
}

func (p *pod) write(name, content string) {
	p.t.Helper()
	g := NewWithT(p.t)
	file := filepath.Join(p.root, name)
	g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(file, []byte(content), 0o644)).To(Succeed())
}

// run does a task and returns its exit code and Result.
func (p *pod) run(ctx context.Context, t task.Task, flags ...string) (int, *task.Result) {
	p.t.Helper()
	return p.with(ctx, t, mover.Flags{Exclude: flags})
}

// with does a task with flags.
func (p *pod) with(ctx context.Context, t task.Task, flags mover.Flags) (int, *task.Result) {
	p.t.Helper()
	g := NewWithT(p.t)
	if t.Egress.Allow == nil { // where the servers of the tests are
		t.Egress.Allow = []string{"127.0.0.0/8", "::1/128"}
	}
	text, err := task.Encode(t)
	g.Expect(err).NotTo(HaveOccurred())
	p.write("cairn/task/task.json", text)
	code := p.mover.Run(ctx, t.Kind, flags)
	message, err := os.ReadFile(p.mover.TerminationPath)
	g.Expect(err).NotTo(HaveOccurred())
	result, err := task.DecodeResult(string(message))
	g.Expect(err).NotTo(HaveOccurred())
	return code, result
}

func storageTask() task.Task {
	return task.Task{
		Kind: task.KindInitStorage, Cluster: "cluster-1", Namespace: "shop",
		Storage: task.Storage{Namespace: "shop", Name: "disk", UID: "uid-storage", Spec: v1alpha1.Storage{
			Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{SubPath: "backups"},
		}},
	}
}

func repositoryTask() task.Task {
	t := storageTask()
	t.Kind = task.KindInitRepository
	t.Repository = &task.Repository{
		Name: "shop-web", UID: "uid-repository", Directory: "shop/web", Driver: v1alpha1.DriverKopia, KeyID: "shop/enc",
		AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "web"},
	}
	return t
}

// notInNames is what the name of an object can't have. The Snapshots of tests are called by what they show.
var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

func backupTask(snapshot string, components ...task.Component) task.Task {
	snapshot = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(snapshot), "-"), "-")
	t := repositoryTask()
	t.Kind = task.KindBackup
	t.Repository.MustExist = true
	t.Snapshot = &task.Snapshot{Name: snapshot, UID: types.UID("uid-" + snapshot), Spec: &v1alpha1.SnapshotSpec{
		SnapshotID: "01", Repository: "shop-web", Session: "s", BackupSession: "run-1", Version: "v1",
		AppRef: t.Repository.AppRef,
	}}
	t.Components = components
	if len(components) == 0 {
		t.Components = []task.Component{{Name: "pvc"}}
	}
	return t
}

func restoreTask(id string) task.Task {
	t := backupTask("snap-1")
	t.Kind = task.KindRestore
	t.RestoreSession = &task.Object{Name: "bring-back", UID: "uid-restore"}
	t.Components = []task.Component{{Name: "new", ID: id}}
	return t
}

// initialised returns a pod whose storage holds the repository.
func initialised(t testing.TB) *pod {
	t.Helper()
	p := newPod(t)
	code, result := p.run(t.Context(), storageTask())
	NewWithT(t).Expect(code).To(BeZero(), "%+v", result)
	code, result = p.run(t.Context(), repositoryTask())
	NewWithT(t).Expect(code).To(BeZero(), "%+v", result)
	return p
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func (p *pod) remove(name string) {
	p.t.Helper()
	_, err := os.Lstat(filepath.Join(p.root, name))
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	NewWithT(p.t).Expect(os.RemoveAll(filepath.Join(p.root, name))).To(Succeed())
}
