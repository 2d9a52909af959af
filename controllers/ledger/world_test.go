package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/gittestserver"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
)

const (
	gitUser     = "ledger"
	gitPassword = "s3cr3t/with+odd chars"
	branch      = "backup-records"
)

// world is a namespace, a Git server and both controllers, which see nothing but that namespace. The API server is real
// and read without a cache, so that each step sees the previous one.
type world struct {
	*gittestserver.GitServer
	t          testing.TB
	namespace  string
	repo       string
	clock      *clocktesting.FakePassiveClock
	events     *record.FakeRecorder
	data       string
	client     client.WithWatch
	collector  *Collector
	reconciler *Reconciler

	down      bool                    // the Git server answers 503
	limit     int64                   // the Git server takes no larger push; 0 means no limit
	during    func()                  // happens during a push
	loseReply bool                    // the server takes the next push, and answers nothing from then on
	silent    atomic.Bool             // the server answers nothing now
	write     func(before bool) error // called before and after each write to the API server
	others    []string                // namespaces that the controllers see besides the world's own
}

func newWorld(t testing.TB) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{
		GitServer: gittestserver.NewGitServer(root), t: t, repo: filepath.Join(root, "repo.git"), data: t.TempDir(),
		namespace: "shop-" + rand.String(6), clock: clocktesting.NewFakePassiveClock(time.Now()),
	}
	if out, err := exec.Command("git", "init", "-q", "--bare", w.repo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.Auth(gitUser, gitPassword)
	w.AddHTTPMiddlewares(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if w.down || w.silent.Load() {
				http.Error(rw, "down", http.StatusServiceUnavailable)
				return
			}
			if w.limit > 0 && isPush(r) && r.ContentLength > w.limit {
				http.Error(rw, "too large", http.StatusRequestEntityTooLarge)
				return
			}
			if w.during != nil && isPush(r) {
				w.during()
			}
			if w.loseReply && isPush(r) {
				w.lost(next, r)
			}
			next.ServeHTTP(rw, r)
		})
	})
	if err := w.StartHTTP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.StopHTTP)
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   w.namespace,
		Labels: map[string]string{"team": "shop"},
	}})
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "git"},
		StringData: map[string]string{"username": gitUser, "password": gitPassword},
	})
	w.client = interceptor.NewClient(bed.Client, w.funcs())
	w.restart()
	t.Cleanup(func() { w.reconciler.memories.closeAll() })
	return w
}

func (m *memories) closeAll() {
	for _, s := range m.all {
		s.close()
	}
}

// restart forgets everything that a process remembers.
func (w *world) restart() {
	if w.reconciler != nil {
		w.reconciler.memories.closeAll()
	}
	w.events = record.NewFakeRecorder(1000)
	outbox := NewOutbox(w.client, w.client)
	w.collector = &Collector{
		Client: w.client, APIReader: w.client, EventRecorder: w.events, Clock: w.clock, Outbox: outbox,
		FieldManager: "cairn-manager",
	}
	w.reconciler = &Reconciler{
		Client: w.client, APIReader: w.client, EventRecorder: w.events, Clock: w.clock, Outbox: outbox,
		LedgerMetrics: NewMetrics(prometheus.NewRegistry()), ClusterUID: "cluster-1", FieldManager: "cairn-manager",
		DataDir: w.data, Egress: egress.Anywhere(),
	}
}

// funcs confine lists to the world's namespace, apply the index that a cache would have, and call write.
func (w *world) funcs() interceptor.Funcs {
	around := func(do func() error) error {
		if w.write == nil {
			return do()
		}
		if err := w.write(true); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
		return w.write(false)
	}
	return interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return w.list(ctx, c, list, opts)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return around(func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return around(func() error { return c.Delete(ctx, o, opts...) })
		},
		Patch: func(
			ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
		) error {
			return around(func() error { return c.Patch(ctx, o, p, opts...) })
		},
		SubResourcePatch: func(
			ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
			opts ...client.SubResourcePatchOption,
		) error {
			return around(func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
		SubResourceApply: func(
			ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration,
			opts ...client.SubResourceApplyOption,
		) error {
			return around(func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	}
}

func (w *world) list(ctx context.Context, c client.WithWatch, list client.ObjectList, opts []client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	indexed, key := o.FieldSelector != nil, pendingKey
	if indexed && o.FieldSelector.Requirements()[0].Field == indexDamaged {
		key = damagedKey
	}
	o.FieldSelector, o.UnsafeDisableDeepCopy = nil, nil
	if len(w.others) == 0 {
		o.Namespace = w.namespace
	}
	if err := c.List(ctx, list, &o); err != nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	items = slices.DeleteFunc(items, func(item runtime.Object) bool {
		object := item.(client.Object)
		return !w.sees(object) || indexed && key(object) == nil
	})
	return meta.SetList(list, items)
}

// sees reports whether an object is in a namespace of the world, or is that namespace.
func (w *world) sees(o client.Object) bool {
	in := o.GetNamespace()
	if in == "" {
		in = o.GetName()
	}
	return in == w.namespace || slices.Contains(w.others, in)
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	if err := bed.Client.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// get reads an object again.
func get[T client.Object](w *world, o T) T {
	w.t.Helper()
	if err := bed.Client.Get(w.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) url() string { return w.HTTPAddress() + "/repo.git" }

func (w *world) ledger(name string, change ...func(*v1alpha1.Ledger)) *v1alpha1.Ledger {
	w.t.Helper()
	l := &v1alpha1.Ledger{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.LedgerSpec{
			URL: w.url(), ClusterName: "production", SecretRef: &v1alpha1.LocalObjectReference{Name: "git"},
			BatchWindow: metav1.Duration{Duration: 10 * time.Second},
			Interval:    metav1.Duration{Duration: 10 * time.Minute},
			Author:      v1alpha1.CommitAuthor{Name: "Cairn", Email: "cairn@localhost"},
		},
	}
	for _, c := range change {
		c(l)
	}
	w.create(l)
	return l
}

// session creates a run of shop's hourly backup that ended now, with one Snapshot.
func (w *world) session(name string, change ...func(*v1alpha1.BackupSession)) *v1alpha1.BackupSession {
	w.t.Helper()
	now := metav1.NewTime(w.clock.Now().Truncate(time.Second))
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Finalizers: []string{v1alpha1.FinalizerRecord},
			Labels: map[string]string{v1alpha1.LabelSession: "hourly"},
		},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group, Kind: "BackupBatch", Name: "shop"},
			Session: "hourly",
		},
		Status: v1alpha1.BackupSessionStatus{
			Phase: v1alpha1.BackupSessionSucceeded, Reason: v1alpha1.ReasonSucceeded, StartTime: &now,
			CompletionTime: &now,
			Snapshots:      []v1alpha1.SnapshotStatusInfo{{Name: "repo-" + name, Phase: v1alpha1.SnapshotSucceeded}},
			Resolved: &v1alpha1.ResolvedBackup{
				Policy: v1alpha1.ResolvedPolicy{Revision: "main@sha1:4be2b5f3a1c04f2b9e7d1a0c5f6e7d8c9b0a1f2e"},
			},
		},
	}
	for _, c := range change {
		c(s)
	}
	snapshot := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "repo-" + name},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01J4A6Z8Q3M5N7P9R1S3T5V7X0", Repository: "repo", Session: "hourly", BackupSession: name,
			Version: "v1",
			AppRef:  v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
		},
		Status: v1alpha1.SnapshotStatus{
			Phase: v1alpha1.SnapshotSucceeded, TotalComponents: 1,
			Components: map[string]v1alpha1.Component{
				"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: "k1234", SizeBytes: 12},
			},
		},
	}
	w.createWithStatus(s)
	w.createWithStatus(snapshot)
	return s
}

func (w *world) createWithStatus(o client.Object) {
	w.t.Helper()
	wanted := o.DeepCopyObject().(client.Object)
	w.create(o)
	wanted.SetResourceVersion(o.GetResourceVersion())
	if err := bed.Client.Status().Update(w.t.Context(), wanted); err != nil {
		w.t.Fatal(err)
	}
	get(w, o)
}

func (w *world) restore(name string) *v1alpha1.RestoreSession {
	w.t.Helper()
	now := metav1.NewTime(w.clock.Now().Truncate(time.Second))
	s := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Finalizers: []string{v1alpha1.FinalizerRecord},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
			DataSource: &v1alpha1.RestoreDataSource{Snapshot: "repo-a"},
		},
		Status: v1alpha1.RestoreSessionStatus{
			Phase: v1alpha1.RestoreSessionFailed, Reason: "VolumeNotEmpty",
			CompletionTime: &now,
		},
	}
	w.createWithStatus(s)
	return s
}

func (w *world) restoreBatch(name string) *v1alpha1.RestoreBatch {
	w.t.Helper()
	now := metav1.NewTime(w.clock.Now().Truncate(time.Second))
	b := &v1alpha1.RestoreBatch{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Finalizers: []string{v1alpha1.FinalizerRecord},
		},
		Spec: v1alpha1.RestoreBatchSpec{
			DataSource: v1alpha1.RestoreBatchDataSource{
				BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
			},
			Targets: []v1alpha1.RestoreBatchTarget{{Name: "web"}},
		},
		Status: v1alpha1.RestoreBatchStatus{
			Phase: v1alpha1.RestoreSessionSucceeded, Reason: "Succeeded",
			CompletionTime: &now,
		},
	}
	w.createWithStatus(b)
	return b
}

func (w *world) collect() (ctrl.Result, error) {
	return w.collector.Reconcile(w.t.Context(), everything)
}

func (w *world) push(l *v1alpha1.Ledger) (ctrl.Result, error) {
	return w.reconciler.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(l)})
}

// pass advances the clock.
func (w *world) pass(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// settle runs both controllers, as a manager would, until no record waits.
func (w *world) settle(ledgers ...*v1alpha1.Ledger) {
	w.t.Helper()
	for range 20 {
		w.pass(11 * time.Second)
		if _, err := w.collect(); err != nil {
			w.t.Fatal(err)
		}
		for _, l := range ledgers {
			if _, err := w.push(l); err != nil {
				w.t.Fatal(err)
			}
		}
		pending, err := w.collector.pending(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(pending)+len(w.parcels()) == 0 {
			return
		}
	}
	for _, l := range ledgers {
		w.t.Logf("%s: %+v", l.Name, get(w, l).Status)
	}
	w.t.Fatalf("records still wait: %v", w.parcels())
}

// parcels returns the ConfigMaps of all outboxes.
func (w *world) parcels() []string {
	w.t.Helper()
	var list corev1.ConfigMapList
	if err := bed.Client.List(w.t.Context(), &list, client.InNamespace(w.namespace),
		client.HasLabels{v1alpha1.LabelLedger}); err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, cm := range list.Items {
		out = append(out, cm.Name)
	}
	return out
}

// git runs a command in the served repository.
func (w *world) git(args ...string) string {
	w.t.Helper()
	out, err := exec.Command("git", append([]string{"-C", w.repo}, args...)...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// files returns the paths in the branch below a folder.
func (w *world) files(folder string) []string {
	w.t.Helper()
	out := w.git("ls-tree", "-r", "--name-only", branch, "--", folder)
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

func (w *world) tip() string {
	out, _ := exec.Command("git", "-C", w.repo, "rev-parse", "-q", "--verify", "refs/heads/"+branch).Output()
	return strings.TrimSpace(string(out))
}

var errCrash = errors.New("the process was killed")

// crashAt kills the process before or after the nth write to the API server, and counts the writes until then.
func (w *world) crashAt(n int, before bool) (happened *bool, writes *int) {
	happened, writes = new(bool), new(int)
	w.write = func(b bool) error {
		if *happened {
			return errCrash
		}
		if b == before {
			*writes++
			*happened = *writes == n
		}
		if *happened {
			return errCrash
		}
		return nil
	}
	return happened, writes
}

// seen returns the events so far.
func (w *world) seen() string {
	var out []string
	for {
		select {
		case e := <-w.events.Events:
			out = append(out, e)
		default:
			return strings.Join(out, "\n")
		}
	}
}

func (w *world) path(s *v1alpha1.BackupSession) string {
	return fmt.Sprintf("clusters/production/records/%s/backupbatch.shop/%s/%s-%s.yaml", s.Namespace,
		s.Status.CompletionTime.UTC().Format("2006-01"), s.Name, s.UID[:8])
}

func ready(l *v1alpha1.Ledger) *metav1.Condition {
	return meta.FindStatusCondition(l.Status.Conditions, "Ready")
}

func beReady(status metav1.ConditionStatus, reason string) OmegaMatcher {
	return WithTransform(ready, And(
		HaveField("Status", status), HaveField("Reason", reason),
	))
}
