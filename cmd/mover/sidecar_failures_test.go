package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/agent"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// road is the connection to the API server. A test can cut it.
type road struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	open  bool
	conns []net.Conn
}

// newRoad returns a connection to the API server for the workload's sidecars.
func newRoad(w *workload) *road {
	w.t.Helper()
	listener, err := new(net.ListenConfig).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	w.Expect(err).NotTo(HaveOccurred())
	r := &road{listener: listener, server: w.address, open: true}
	w.address = listener.Addr().String()
	w.t.Cleanup(func() { _ = listener.Close(); r.cut() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go r.carry(in)
		}
	}()
	return r
}

func (r *road) carry(in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.server)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	r.mu.Lock()
	if !r.open {
		r.mu.Unlock()
		return
	}
	r.conns = append(r.conns, in, out)
	r.mu.Unlock()
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	_, _ = io.Copy(in, out)
}

func (r *road) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = false
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func (r *road) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = true
}

// logged waits for a line in the sidecars' log.
func (w *workload) logged(text, why string) {
	w.t.Helper()
	w.Eventually(w.log.String).WithTimeout(testbed.Patience).WithPolling(20*time.Millisecond).
		Should(ContainSubstring(text), why)
}

// backups returns how many backups the sidecars have begun.
func (w *workload) backups() int { return strings.Count(w.log.String(), `"msg":"begin"`) }

// records returns what the backend holds about a Snapshot.
func (w *workload) records(s *v1alpha1.Snapshot) []string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.root, "cairn/storage/backups/shop/web/snapshots", s.Name, "*"))
	w.Expect(err).NotTo(HaveOccurred())
	return files
}

// The API server is away from the middle of a backup until long after its end, and the old token is no longer valid
// when it is back.
func TestASidecarIsCutOffFromTheAPIServer(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	r := newRoad(w)
	credential := w.token("first")
	w.write("cairn/volumes/data/"+fileName, strings.Repeat("0123456789abcdef", 16<<20))
	w.start("pod-a")
	s := w.backup("snap-1", "v1", credential, "pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	r.cut()
	w.logged(`"msg":"retry the report","object":"snap-1"`, "it backed up, and nobody hears of it")
	fresh := w.token("second")
	w.Expect(
		bed.Client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace,
			Name:      "first",
		}})).
		To(Succeed())
	before := s.DeepCopy()
	s.Annotations[v1alpha1.AnnotationSidecarCredentials] = credential + "," + fresh
	w.Expect(bed.Client.Patch(t.Context(), s, client.MergeFrom(before))).To(Succeed())
	next := w.backup("snap-2", "v1", fresh, "pod-a")
	w.Expect(w.component(s)().Phase).To(Equal(v1alpha1.SnapshotRunning))
	r.mend()
	c := w.eventually(s, v1alpha1.SnapshotSucceeded, "it tells what it did")
	w.Expect(c.ID).NotTo(BeEmpty())
	w.Expect(w.records(s)).To(HaveLen(1))
	w.eventually(next, v1alpha1.SnapshotSucceeded, "it watches again")
	w.Expect(w.backups()).To(Equal(2), "nothing was done twice")
	w.discreet()
}

// The sidecar stands still and is given up. Another pod has done its work when it goes on.
func TestASidecarThatStoodStillReportsOverNobody(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	w.endless()
	cmd, _ := w.start("pod-a")
	s := w.backup("snap-1", "v1", credential, "pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	w.Expect(cmd.Process.Signal(syscall.SIGSTOP)).To(Succeed())
	w.change(s, func(work *sidecar.Work) { work.Assignments[0].Attempt, work.Assignments[0].PodUID = 2, "pod-b" })
	before := s.DeepCopy()
	s.Status.Components["data"] = v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "of-another"}
	w.Expect(bed.Client.Status().Patch(t.Context(), s, client.MergeFrom(before))).To(Succeed())
	w.Expect(cmd.Process.Signal(syscall.SIGCONT)).To(Succeed())
	w.logged(
		`"msg":"stopped","resource":"snapshots","object":"snap-1","host":"target",`+
			`"attempt":1,"why":"the assignment was withdrawn`, "it stops")
	w.Expect(w.component(s)()).To(And(HaveField("Phase", v1alpha1.SnapshotSucceeded), HaveField("ID", "of-another")))
	w.Expect(w.records(s)).To(BeEmpty(), "it does not overwrite the results of the other pod in the backend")
	w.discreet()
}

// within runs a sidecar with short timeouts in this process. Its watch uses the workload's connection to the API
// server, everything else connects directly. The returned function waits for its end.
func (w *workload) within(pod types.UID, keys, stop time.Duration) (ended func() error) {
	w.t.Helper()
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	s := agent.Sidecar{
		ID: w.id, Namespace: w.namespace, PodUID: pod, Log: log, WaitForKeys: keys, WaitForStop: stop,
		Mover:     mover.Mover{Root: w.root, Driver: kopia.Driver{}, Now: time.Now, Log: log},
		SecretDir: sidecar.SecretDir, VolumesDir: sidecar.VolumesDir, RestoreDir: sidecar.RestoreDir,
		Flags: func(kind task.Kind, args []string) (mover.Flags, error) { return arguments(kind, args, io.Discard) },
	}
	var err error
	s.Client, err = dynamic.NewForConfig(bed.Config)
	w.Expect(err).NotTo(HaveOccurred())
	watching := rest.CopyConfig(bed.Config)
	watching.Host = "https://" + w.address
	s.Metadata, err = metadata.NewForConfig(watching)
	w.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(w.t.Context())
	end := make(chan error, 1)
	go func() { end <- s.Run(ctx) }()
	ended = sync.OnceValue(func() error { return <-end })
	w.t.Cleanup(func() { cancel(); _ = ended() })
	return ended
}

// The watch has not yet seen what the API server knows.
func TestASidecarReportsOnlyWhatItIsAskedFor(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	w.endless()
	r := newRoad(w)
	w.within("pod-a", time.Second, time.Minute)
	s := w.backup("snap-1", "v1", "any", "pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	r.cut()
	w.change(s, func(work *sidecar.Work) { work.Assignments[0].Attempt, work.Assignments[0].PodUID = 2, "pod-b" })
	before := s.DeepCopy()
	s.Status.Components["data"] = v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "of-another"}
	w.Expect(bed.Client.Status().Patch(t.Context(), s, client.MergeFrom(before))).To(Succeed())
	w.logged(`"attempt":1,"why":"the assignment was withdrawn`, "it asks before it reports")
	w.Expect(w.component(s)()).To(And(HaveField("Phase", v1alpha1.SnapshotSucceeded), HaveField("ID", "of-another")))
}

func TestWorkThatDoesNotStopEndsTheSidecar(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	w.write("cairn/volumes/data/"+fileName, "text")
	file := filepath.Join(w.root, "cairn/storage/backups/shop/web/kopia/kopia.repository.f")
	w.Expect(os.Remove(file)).To(Succeed())
	w.Expect(syscall.Mkfifo(file, 0o600)).
		To(Succeed(), "a reader waits for ever, as for a file server that has gone")
	ended := w.within("pod-a", time.Second, 100*time.Millisecond)
	t.Cleanup(func() {
		if f, err := os.OpenFile(file, os.O_RDWR, 0); err == nil {
			_ = f.Close()
		}
	})
	s := w.backup("snap-1", "v1", "any", "pod-a")
	w.logged(`"msg":"begin"`, "it works")
	w.change(s, func(work *sidecar.Work) { work.Assignments = nil })
	w.Expect(ended()).To(MatchError(agent.ErrStuck), "its container is started again")
}

func TestNobodyWaitsForASidecarAnyMore(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	w.endless()
	w.within("pod-a", time.Second, time.Minute)
	s := w.backup("snap-1", "v1", "any", "pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	w.change(s, func(work *sidecar.Work) {
		work.Assignments[0].Attempt, work.Assignments[0].Within = 2, metav1.Duration{Duration: time.Second}
	})
	w.logged(`"attempt":2,"why":"nobody waits for the work any more`, "its time is over")
	w.Expect(w.component(s)().Phase).To(Equal(v1alpha1.SnapshotRunning), "the one that gave it up reports it")
	w.write("cairn/volumes/data/"+fileName, "short")
	w.eventually(w.backup("snap-2", "v1", "any", "pod-a"), v1alpha1.SnapshotSucceeded, "it goes on with what is next")
}

// The keys were changed twice, so the keys for which the assignment was made never come.
func TestKeysThatNeverComeAreNotWaitedForForEver(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v2")
	w.write("cairn/volumes/data/"+fileName, "text")
	w.within("pod-a", time.Second, time.Minute)
	s := w.backup("snap-1", "v1", "any", "pod-a")
	w.logged(`"msg":"waiting for keys"`, "the kubelet may bring them")
	w.eventually(s, v1alpha1.SnapshotSucceeded, "it works with those that it has")

	w.keys("another password", "v3")
	c := w.eventually(w.backup("snap-2", "v3", "any", "pod-a"), v1alpha1.SnapshotFailed, "they do not fit")
	w.Expect(c.Reason).To(Equal(v1alpha1.ReasonPasswordChanged))
}

func TestWhatChangedWhileNobodyWatched(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	r := newRoad(w)
	credential := w.token("first")
	w.endless()
	w.start("pod-a")
	s := w.backup("snap-1", "v1", credential, "pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	r.cut()
	w.Expect(bed.Client.Delete(t.Context(), s)).To(Succeed())
	next := w.backup("snap-2", "v1", credential, "pod-a")
	r.mend()
	w.logged(`"why":"the assignment was withdrawn`, "what was deleted meanwhile is stopped")
	w.eventually(next, v1alpha1.SnapshotRunning, "and what came is begun")
}
