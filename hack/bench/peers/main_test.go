package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/memlimit"
	"github.com/cairn-backup/cairn/internal/task"
)

// The environment of the process that is the mover: what it is to do, and the root of its container.
const (
	envKind = "CAIRN_BENCH_MOVER"
	envRoot = "CAIRN_BENCH_ROOT"
)

func TestMain(m *testing.M) {
	switch kind := os.Getenv(envKind); kind {
	case "":
	case dumping:
		exit(writeDump(os.Stdout, streamBytes))
	case loading:
		_, err := io.Copy(io.Discard, struct{ io.Reader }{os.Stdin})
		exit(err)
	default:
		os.Exit(move(task.Kind(kind), os.Getenv(envRoot)))
	}
	os.Exit(m.Run())
}

// exit ends a process that is no mover.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// move is a mover's whole life, but for the API server that it reports to.
func move(kind task.Kind, root string) int {
	if _, err := memlimit.Set(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	m := mover.Mover{
		Root: root, TerminationPath: filepath.Join(root, "termination-log"),
		Driver: kopia.Driver{}, Status: nowhere{}, Now: time.Now,
		Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), Privileged: os.Geteuid() == 0,
	}
	return m.Run(context.Background(), kind, mover.Flags{SetID: true})
}

// nowhere takes reports.
type nowhere struct{}

func (nowhere) Snapshot(context.Context, task.Object, string, v1alpha1.Component) error { return nil }

func (nowhere) Restore(context.Context, task.Object, string, v1alpha1.RestoredComponent) error {
	return nil
}

// cost of one process.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // bytes
}

// run measures a program.
func run(ctx context.Context, env []string, name string, args ...string) (cost, error) {
	return runFrom(ctx, nil, env, name, args...)
}

// runFrom measures a program that reads in, which may be nil.
func runFrom(ctx context.Context, in *os.File, env []string, name string, args ...string) (cost, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	if in != nil {
		cmd.Stdin = in
	}
	cmd.Env = append(os.Environ(), env...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &out
	began := time.Now()
	err := cmd.Run()
	c := cost{wall: time.Since(began)}
	if err != nil {
		return c, fmt.Errorf("%s %s: %w: %.2000s", filepath.Base(name), strings.Join(args, " "), err, out.String())
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = usage.Maxrss << 10
	}
	return c, nil
}

// plus is the cost of two processes, one after the other.
func (c cost) plus(o cost) cost {
	return cost{wall: c.wall + o.wall, cpu: c.cpu + o.cpu, peak: max(c.peak, o.peak)}
}

// container is the file system of the mover's container.
type container struct {
	root    string
	storage v1alpha1.Storage
	id      string // of the last backup
	runs    int
}

// newContainer makes one in a directory. Its storage is another directory, or s3.
func newContainer(b testing.TB, root string, s3 *s3Server) *container {
	b.Helper()
	c := &container{
		root: root, storage: v1alpha1.Storage{Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{}},
	}
	files := map[string]string{"cairn/encryption/password": password, "termination-log": ""}
	if s3 != nil {
		c.storage = v1alpha1.Storage{Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{
			Endpoint: s3.url(), Bucket: bucket, Region: "us-east-1", Prefix: "mover", SecretName: "keys",
		}}
		files["cairn/credentials/"+v1alpha1.S3AccessKeyID] = accessKey
		files["cairn/credentials/"+v1alpha1.S3SecretAccessKey] = secretKey
	}
	for _, dir := range []string{"cairn/storage", "cairn/task", "cairn/volumes", "tmp"} {
		must(b, os.MkdirAll(filepath.Join(c.root, dir), 0o755))
	}
	for name, content := range files {
		must(b, os.MkdirAll(filepath.Dir(filepath.Join(c.root, name)), 0o755))
		must(b, os.WriteFile(filepath.Join(c.root, name), []byte(content), 0o600))
	}
	serve(b, filepath.Join(c.root, task.ProgramSocket))
	return c
}

// serve runs the programs of dumps in this process, as the container of a database's image does beside the mover. What
// they cost is not a part of the mover's cost.
func serve(b testing.TB, socket string) {
	b.Helper()
	must(b, os.MkdirAll(filepath.Dir(socket), 0o755))
	s, err := program.Listen(socket, slog.New(slog.DiscardHandler))
	must(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	b.Cleanup(func() { cancel(); must(b, <-done) })
}

// do runs the mover in a process of its own.
func (c *container) do(ctx context.Context, t task.Task) (cost, error) {
	ref := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Namespace: "bench", Name: "data"}
	t.Cluster, t.Namespace = "bench", "bench"
	t.Egress.Allow = []string{"127.0.0.0/8"} // where the servers of the benchmark are
	t.Storage = task.Storage{Namespace: "bench", Name: "storage", UID: "s", Spec: c.storage}
	if t.Kind != task.KindInitStorage {
		t.Repository = &task.Repository{
			Name: "data", UID: "r", AppRef: ref, Directory: "data", Driver: v1alpha1.DriverKopia,
		}
	}
	if t.Snapshot != nil {
		t.Snapshot.Spec = &v1alpha1.SnapshotSpec{
			SnapshotID: "1", Repository: "data", Session: "s", BackupSession: "b", Version: "v1", AppRef: ref,
		}
	}
	text, err := task.Encode(t)
	if err != nil {
		return cost{}, err
	}
	if err := os.WriteFile(filepath.Join(c.root, task.Path), []byte(text), 0o600); err != nil {
		return cost{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return cost{}, err
	}
	spent, err := run(ctx, []string{envKind + "=" + string(t.Kind), envRoot + "=" + c.root}, self)
	if err != nil || t.Kind != task.KindBackup {
		return spent, err
	}
	message, err := os.ReadFile(filepath.Join(c.root, "termination-log"))
	if err != nil {
		return spent, err
	}
	result, err := task.DecodeResult(string(message))
	if err != nil || len(result.Components) != 1 {
		return spent, errors.Join(err, fmt.Errorf("result %.200s", message))
	}
	c.id = result.Components[0].ID
	return spent, nil
}

func (c *container) init(ctx context.Context) error {
	if _, err := c.do(ctx, task.Task{Kind: task.KindInitStorage}); err != nil {
		return err
	}
	_, err := c.do(ctx, task.Task{Kind: task.KindInitRepository})
	return err
}

// backup mounts the tree as the kubelet does, or as near as it comes to that.
func (c *container) backup(ctx context.Context, tree string) (cost, error) {
	mount := filepath.Join(c.root, task.VolumesDir, "pvc")
	if err := os.Symlink(tree, mount); err != nil && !errors.Is(err, os.ErrExist) {
		return cost{}, err
	}
	c.runs++
	name := fmt.Sprint("snap-", c.runs)
	return c.do(ctx,
		task.Task{Kind: task.KindBackup, Snapshot: &task.Snapshot{
			Name: name, UID: types.UID(name),
		}, Components: []task.Component{{Name: "pvc"}}})
}

// restore writes the last backup to a new directory.
func (c *container) restore(ctx context.Context, target string) (cost, error) {
	mount := filepath.Join(c.root, task.VolumesDir, "new")
	if err := errors.Join(os.RemoveAll(mount), os.MkdirAll(target, 0o755), os.Symlink(target, mount)); err != nil {
		return cost{}, err
	}
	return c.do(ctx, task.Task{
		Kind: task.KindRestore, Snapshot: &task.Snapshot{Name: "s", UID: "u"}, RestoreSession: &task.Object{Name: "r"},
		Components: []task.Component{{Name: "new", ID: c.id}},
	})
}

func must(b testing.TB, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
