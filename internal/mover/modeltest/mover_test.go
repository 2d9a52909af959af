package modeltest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kopia/kopia/repo/blob"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// childEnv names the file with the pod that a child process runs until it kills itself.
const childEnv = "CAIRN_MODEL_POD"

// pod is one run of a mover. A child process gets it as JSON.
type pod struct {
	// Root is the file system of the container. Volumes holds a directory for each component.
	Root, Volumes string
	Kind          task.Kind
	// Now is the time of the node at the start. Each look at the clock takes a millisecond.
	Now time.Time
	// KillAt is the number of the event at which the mover is killed; 0 means never. Events are reads of the clock,
	// reports, lookups in the volume, and requests to the storage.
	KillAt int
	// Late says that events count from the first write of data on. A mover reads for long before that.
	Late bool
	// Blobs are the times of the storage for a child process.
	Blobs map[string]time.Time

	mu     sync.Mutex
	events int
	// stored are the times of the storage.
	stored *times
	// looked is called before a name of the volume is looked up.
	looked func()
	// client takes the pages of a scan.
	client *dynamicfake.FakeDynamicClient
	log    strings.Builder
}

// times are the times at which blobs were written, by the clock of the storage.
type times struct {
	mu   sync.Mutex
	now  time.Time
	blob map[string]time.Time
}

// of returns when a blob was written. A blob that was not seen before was written by a mover that was killed.
func (t *times) of(key string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.blob[key].IsZero() {
		t.blob[key] = t.now
	}
	return t.blob[key]
}

func (t *times) forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.blob, key)
}

// event counts, and ends the process at the right one.
func (p *pod) event() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.events++; p.events == p.KillAt && !p.Late {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// killed says when the mover was killed.
func (p *pod) killed() string {
	if p.Late {
		return fmt.Sprintf("killed at event %d after the first write", p.KillAt)
	}
	return fmt.Sprintf("killed at event %d", p.KillAt)
}

// begun notes that the mover begins to write data.
func (p *pod) begun() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Late {
		p.Late, p.events = false, 0
	}
}

func (p *pod) now() time.Time {
	p.event()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Now = p.Now.Add(time.Millisecond)
	return p.Now
}

// report is what a mover wrote to the status of a Snapshot.
type report struct {
	Name      string
	Component v1alpha1.Component
}

const reportsFile = "reports.json"

// Snapshot implements mover.StatusWriter. The file outlives the process.
func (p *pod) Snapshot(_ context.Context, _ task.Object, name string, c v1alpha1.Component) error {
	p.event()
	line, err := json.Marshal(report{name, c})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(p.Root, reportsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	_ = f.Close()
	p.event()
	return err
}

// Restore implements mover.StatusWriter.
func (*pod) Restore(context.Context, task.Object, string, v1alpha1.RestoredComponent) error {
	return nil
}

// sessionMarker begins the names of the blobs that kopia writes before all others.
const sessionMarker = "s"

// store is a storage with the times of the model, whose requests are events.
type store struct {
	blob.Storage
	p *pod
}

func (s store) key(id blob.ID) string { return s.DisplayName() + " " + string(id) }

func (s store) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	s.p.event()
	if strings.HasPrefix(string(id), sessionMarker) {
		s.p.begun()
	}
	err := s.Storage.PutBlob(ctx, id, data, o)
	if err == nil {
		s.p.stored.forget(s.key(id))
		if at := s.p.stored.of(s.key(id)); o.GetModTime != nil {
			*o.GetModTime = at
		}
	}
	s.p.event()
	return err
}

func (s store) DeleteBlob(ctx context.Context, id blob.ID) error {
	s.p.event()
	return s.Storage.DeleteBlob(ctx, id)
}

func (s store) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	m, err := s.Storage.GetMetadata(ctx, id)
	if err != nil {
		return m, err
	}
	return s.timed(m), nil
}

func (s store) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	return s.Storage.ListBlobs(ctx, prefix, func(m blob.Metadata) error { return each(s.timed(m)) })
}

func (s store) timed(m blob.Metadata) blob.Metadata {
	m.Timestamp = s.p.stored.of(s.key(m.BlobID))
	return m
}

// inTurn reads one file after the other, so that a seed says what happens meanwhile.
type inTurn struct{ repository.Driver }

type inTurnEngine struct{ repository.Engine }

func (d inTurn) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return inTurnEngine{e}, err
}

func (e inTurnEngine) Backup(
	ctx context.Context, s repository.Source, o repository.BackupOptions,
) (repository.Snapshot, error) {
	o.Parallel = 1
	return e.Engine.Backup(ctx, s, o)
}

func (p *pod) driver() repository.Driver {
	d := kopia.Driver{
		Wrap: func(s blob.Storage) blob.Storage { return store{s, p} }, Now: p.now,
		Lookup: func(string) {
			p.event()
			if p.looked != nil {
				p.looked()
			}
		},
	}
	if p.looked != nil {
		return inTurn{d}
	}
	return d
}

func (p *pod) mover() *mover.Mover {
	p.client = dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	return &mover.Mover{
		Root: p.Root, TerminationPath: filepath.Join(p.Root, "termination-log"), Driver: p.driver(), Status: p,
		Now: p.now, Client: p.client, Job: "keeper", RenewLease: renewLease,
		Log:        slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Privileged: os.Geteuid() == 0,
		Places:     mover.Places{Volume: func(component string) string { return filepath.Join(p.Volumes, component) }},
	}
}

// renewLease is short: after the kill of a keeper, the next keeper waits six times as long for the lease.
const renewLease = 100 * time.Millisecond

// flags restore everything that a user can do.
var flags = mover.Flags{SetID: true, Devices: true}

// run does a task. The result is nil if the mover was killed.
func (p *pod) run(ctx context.Context, t task.Task) *task.Result {
	text, err := task.Encode(t)
	must(err)
	p.Kind = t.Kind
	must(os.WriteFile(filepath.Join(p.Root, task.Path), []byte(text), 0o600))
	must(os.WriteFile(filepath.Join(p.Root, "termination-log"), nil, 0o600))
	must(os.RemoveAll(filepath.Join(p.Root, reportsFile)))
	if p.KillAt > 0 {
		if p.child(ctx) {
			return nil
		}
	} else {
		p.mover().Run(ctx, t.Kind, flags)
	}
	message, err := os.ReadFile(filepath.Join(p.Root, "termination-log"))
	must(err)
	result, err := task.DecodeResult(string(message))
	must(err)
	return result
}

// child runs the mover in a process of its own, and reports whether it was killed.
func (p *pod) child(ctx context.Context) bool {
	p.Blobs = p.stored.blob
	text, err := json.Marshal(p)
	must(err)
	cmd := exec.CommandContext(ctx, os.Args[0])
	file := filepath.Join(p.Root, "pod.json")
	must(os.WriteFile(file, text, 0o600))
	cmd.Env = append(os.Environ(), childEnv+"="+file)
	out, err := cmd.CombinedOutput()
	p.log.Write(out)
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		must(fmt.Errorf("the process of a mover: %w: %s", err, out))
	}
	return false
}

// runChild is the process of a pod.
func runChild() int {
	var p pod
	text, err := os.ReadFile(os.Getenv(childEnv))
	must(err)
	must(json.Unmarshal(text, &p))
	p.stored = &times{now: p.Now, blob: p.Blobs}
	m := p.mover()
	m.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return m.Run(context.Background(), p.Kind, flags)
}

// reports returns what the mover wrote to the status of its Snapshot.
func (p *pod) reports() map[string]v1alpha1.Component {
	out := map[string]v1alpha1.Component{}
	f, err := os.Open(filepath.Join(p.Root, reportsFile))
	if os.IsNotExist(err) {
		return out
	}
	must(err)
	defer func() { _ = f.Close() }()
	for d := json.NewDecoder(f); ; {
		var r report
		if err := d.Decode(&r); err == io.EOF {
			return out
		} else if err != nil {
			return out // the last report was cut
		}
		out[r.Name] = r.Component
	}
}

// pages returns the answer to a scan.
func (p *pod) pages(ctx context.Context, namespace string, scan *task.Scan) [][]byte {
	var out [][]byte
	for i := range scan.Pages {
		u, err := p.client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(namespace).
			Get(ctx, task.PageName("keeper", i), getOptions)
		must(err)
		out = append(out, pageOf(u))
	}
	return out
}

func pageOf(u *unstructured.Unstructured) []byte {
	var c corev1.ConfigMap
	must(runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &c))
	return c.BinaryData[task.PageKey]
}
