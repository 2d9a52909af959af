package keeper

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

var clockTime = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// backend is a Repository with a backend in which a scan found Snapshots. The API server answers with refuse to the
// Snapshot of that name.
type backend struct {
	*Reconciler
	repository *v1alpha1.Repository
	events     *record.FakeRecorder
	refuse     map[string]error
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{
		repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-web"}},
		events:     record.NewFakeRecorder(10),
	}
	c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(b.repository).
		WithStatusSubresource(&v1alpha1.Repository{}, &v1alpha1.Snapshot{}).
		WithInterceptorFuncs(interceptor.Funcs{Create: func(
			ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption,
		) error {
			if err := b.refuse[o.GetName()]; err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		}}).Build()
	b.Reconciler = &Reconciler{
		Client: c, APIReader: c, EventRecorder: b.events, Clock: clocktesting.NewFakePassiveClock(clockTime),
		FieldManager: "cairn-manager",
	}
	return b
}

// scan writes what a Job found, and reports whether the scan is done.
func (b *backend) scan(ctx context.Context, t *testing.T, job string, found ...task.Found) (bool, error) {
	t.Helper()
	g := NewWithT(t)
	w := task.PageWriter{Write: func(page int, content []byte) error {
		return b.Client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: task.PageName(job, page)},
			BinaryData: map[string][]byte{task.PageKey: content},
		})
	}}
	for _, f := range found {
		g.Expect(w.Add(f)).To(Succeed())
	}
	pages, digest, err := w.Close()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Get(ctx, client.ObjectKeyFromObject(b.repository), b.repository)).To(Succeed())
	return b.writeScan(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: job}},
		&keeper.Work{Repository: b.repository, Scan: "now"},
		task.ComponentResult{Scan: &task.Scan{Pages: pages, Digest: digest}})
}

// inBackend is a Snapshot that lacks some components.
func inBackend(name string, lacks int32) task.Found {
	return task.Found{
		Name: name, UID: types.UID("uid-" + name), Total: 1 + lacks,
		Spec:       v1alpha1.SnapshotSpec{SnapshotID: "id-" + name, BackupSession: "run", Session: "nightly"},
		Components: map[string]v1alpha1.Component{"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: "k-" + name}},
	}
}

// answer is an error of the API server.
func answer(code int) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReason(http.StatusText(code)),
		Message: fmt.Sprint("a webhook says ", code),
	}}
}

func TestOneRefusedSnapshotHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			g, b := NewWithT(t), newBackend(t)
			b.refuse = map[string]error{"second": answer(code)}
			done, err := b.scan(t.Context(), t, "job",
				inBackend("first", 0), inBackend("second", 0), inBackend("third", 1))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(done).To(BeTrue(), "the next scan would be refused, too")
			g.Expect(b.repository.Status.LastScan).To(HaveValue(And(
				HaveField("Found", int32(3)), HaveField("Rebuilt", int32(2)), HaveField("Incomplete", int32(1)),
				HaveField("Refused", int32(1)), HaveField("Requested", "now"))))
			g.Expect(conditions.GetReason(b.repository, v1alpha1.ConditionScanned)).
				To(Equal(v1alpha1.ReasonScanIncomplete))
			why := fmt.Sprintf(`"second": make Snapshot shop/second again: a webhook says %d`, code)
			g.Expect(conditions.GetMessage(b.repository, v1alpha1.ConditionScanned)).To(Equal(
				"the last scan of the backend left out Snapshots: see status.lastScan: " + why))
			g.Expect(<-b.events.Events).To(Equal("Normal Scanned rebuilt 2 of the 3 Snapshots in the backend"))
			g.Expect(<-b.events.Events).To(Equal("Warning ScanIncomplete left out 1 Snapshot of the backend: " + why))
		})
	}
}

// What does not last is tried again by another Job. It counts what the one before has made.
func TestAScanThatIsTriedAgainCountsAll(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusGatewayTimeout} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			g, b := NewWithT(t), newBackend(t)
			found := []task.Found{inBackend("first", 0), inBackend("second", 0), inBackend("third", 1)}
			b.refuse = map[string]error{"second": answer(code)}
			done, err := b.scan(t.Context(), t, "one", found...)
			g.Expect(err).NotTo(HaveOccurred(), "nothing else of the Job waits for it")
			g.Expect(done).To(BeFalse())
			g.Expect(b.repository.Status.LastScan).To(BeNil())
			g.Expect(conditions.GetMessage(b.repository, v1alpha1.ConditionScanned)).To(Equal(fmt.Sprintf(
				"the API server failed: make Snapshot shop/second again: a webhook says %d: Cairn tries again", code)))
			g.Expect(b.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "third"}, &v1alpha1.Snapshot{})).
				To(Succeed(), "it waits for no other")

			b.refuse = nil
			done, err = b.scan(t.Context(), t, "two", found...)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(done).To(BeTrue())
			g.Expect(b.repository.Status.LastScan).To(HaveValue(And(
				HaveField("Found", int32(3)), HaveField("Rebuilt", int32(3)), HaveField("Incomplete", int32(1)),
				HaveField("Refused", int32(0)))))
			g.Expect(conditions.GetReason(b.repository, v1alpha1.ConditionScanned)).To(Equal(v1alpha1.ReasonScanned))
		})
	}
}

// The Repository was made again, or the removal of a Snapshot was given up. The old object still waits for its record,
// or for the garbage collector, and is gone a moment after the scan.
func TestAScanWaitsForASnapshotThatIsGoing(t *testing.T) {
	t.Parallel()
	owned := func(by types.UID) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) {
			s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(
				&metav1.ObjectMeta{Name: "web", UID: by}, v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))}
		}
	}
	wipes := func(s *v1alpha1.Snapshot) {
		s.Spec.DeletionPolicy = v1alpha1.WipeOut
		s.Finalizers = append(s.Finalizers, v1alpha1.FinalizerWipe)
	}
	for name, tt := range map[string]struct {
		change  []func(*v1alpha1.Snapshot)
		deleted bool
		waits   bool
	}{
		"it is there":                     {nil, false, false},
		"it waits for its record":         {nil, true, true},
		"the Repository owns it":          {[]func(*v1alpha1.Snapshot){owned("uid-web")}, false, false},
		"an earlier Repository owns it":   {[]func(*v1alpha1.Snapshot){owned("uid-before")}, false, true},
		"a keeper removes its data":       {[]func(*v1alpha1.Snapshot){owned("uid-web"), wipes}, true, false},
		"no keeper removes what it holds": {[]func(*v1alpha1.Snapshot){owned("uid-before"), wipes}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, b := NewWithT(t), newBackend(t)
			old := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "first", Finalizers: []string{v1alpha1.FinalizerRecord},
				},
				Spec: v1alpha1.SnapshotSpec{
					Repository: "web", SnapshotID: "id-first", BackupSession: "run", Session: "nightly",
				},
			}
			for _, change := range tt.change {
				change(old)
			}
			g.Expect(b.Create(t.Context(), old)).To(Succeed())
			old.Status.Phase = v1alpha1.SnapshotSucceeded
			g.Expect(b.Client.Status().Update(t.Context(), old)).To(Succeed())
			if tt.deleted {
				g.Expect(b.Delete(t.Context(), old)).To(Succeed())
			}
			done, err := b.scan(t.Context(), t, "job", inBackend("first", 0), inBackend("second", 0))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(done).To(Equal(!tt.waits))
			g.Expect(b.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "second"}, &v1alpha1.Snapshot{})).
				To(Succeed(), "it waits for no other")
			if !tt.waits {
				return
			}
			g.Expect(conditions.GetMessage(b.repository, v1alpha1.ConditionScanned)).To(Equal(
				"Snapshot shop/first is being deleted, and can be made again once it is gone: Cairn tries again"))

			g.Expect(b.Get(t.Context(), client.ObjectKeyFromObject(old), old)).To(Succeed())
			old.Finalizers = nil
			g.Expect(b.Update(t.Context(), old)).To(Succeed())
			g.Expect(client.IgnoreNotFound(b.Delete(t.Context(), old))).To(Succeed())
			done, err = b.scan(t.Context(), t, "again", inBackend("first", 0), inBackend("second", 0))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(done).To(BeTrue())
			g.Expect(b.repository.Status.LastScan).To(HaveValue(HaveField("Rebuilt", int32(2))))
		})
	}
}

func TestAnAPIServerInTroubleIsNotAskedForEachSnapshot(t *testing.T) {
	t.Parallel()
	g, b := NewWithT(t), newBackend(t)
	b.refuse = map[string]error{}
	var found []task.Found
	for i := range 2 * maxFailures {
		found = append(found, inBackend(fmt.Sprint("s-", i), 0))
		b.refuse[fmt.Sprint("s-", i)] = answer(http.StatusServiceUnavailable)
	}
	_, err := b.scan(t.Context(), t, "job", found...)
	g.Expect(err).To(MatchError(ContainSubstring("a webhook says 503")))
	b.refuse = map[string]error{"s-0": answer(http.StatusConflict)}
	_, err = b.scan(t.Context(), t, "other", found...)
	g.Expect(apierrors.IsConflict(err)).To(BeTrue(), "the reconciler looks again at once")
}

// Whoever writes into the backend must not fill the log, nor the status.
func TestASmallPageFillsNoLog(t *testing.T) {
	t.Parallel()
	g, b := NewWithT(t), newBackend(t)
	var found []task.Found
	for i := range 5000 {
		found = append(found, inBackend(fmt.Sprintf("%d_%s", i, strings.Repeat("X", 1000)), 0))
	}
	ctx, lines := loglines.Record(t.Context(), 1)
	done, err := b.scan(ctx, t, "job", found...)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(done).To(BeTrue())
	g.Expect(b.repository.Status.LastScan).To(HaveValue(HaveField("Refused", int32(5000))))
	g.Expect(len(*lines)).To(BeNumerically("<", 10))
	g.Expect(len(strings.Join(*lines, ""))).To(BeNumerically("<", 8<<10))
	g.Expect(*lines).To(ContainElement(ContainSubstring(`"count"=5000`)), "the log says how many there are")
	g.Expect(len(conditions.GetMessage(b.repository, v1alpha1.ConditionScanned))).To(BeNumerically("<", 2<<10))
}

// A run has frozen the names of its Snapshots, and makes those of later targets (Sequential, hooks, a queue) later. The
// backend of no Repository takes one of these names, not even that of the Repository for which the run makes it.
func TestAScanTakesNoNameFromARunUnderWay(t *testing.T) {
	for _, of := range []string{"db", "web"} {
		t.Run("of the Repository "+of, func(t *testing.T) {
			g, b := NewWithT(t), newBackend(t)
			slot := clockTime.Add(-10 * time.Minute)
			run := policy.BackupSessionName("shop", "nightly", slot)
			name := policy.SnapshotName("db", run) // of the Repository db; the scan is of the Repository web
			g.Expect(b.Client.Create(t.Context(), &v1alpha1.BackupSession{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: run},
				Status: v1alpha1.BackupSessionStatus{
					Phase: v1alpha1.BackupSessionRunning,
					Resolved: &v1alpha1.ResolvedBackup{Targets: []v1alpha1.ResolvedTarget{{
						Name: "db", Repositories: []v1alpha1.ResolvedRepository{{Name: of, Snapshot: name}},
					}}},
				},
			})).To(Succeed())
			_, err := b.scan(t.Context(), t, "keeper-job", func() task.Found {
				f := inBackend(name, 0)
				f.Spec.BackupSession = run
				return f
			}())
			g.Expect(err).NotTo(HaveOccurred())
			var taken v1alpha1.Snapshot
			err = b.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, &taken)
			g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
			var all v1alpha1.SnapshotList
			g.Expect(b.List(t.Context(), &all)).To(Succeed())
			g.Expect(all.Items).To(HaveLen(1), "it has another name")
		})
	}
}
