package retention

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestDecisive checks which updates of a Snapshot make retention look again at its Repository.
func TestDecisive(t *testing.T) {
	waits := func(reason, message string) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) {
			conditions.MarkFalse(s, v1alpha1.ConditionWiped, reason, "%s", message)
		}
	}
	for name, tt := range map[string]struct {
		edit func(*v1alpha1.Snapshot)
		want bool
	}{
		"nothing":                   {func(*v1alpha1.Snapshot) {}, false},
		"a label":                   {func(s *v1alpha1.Snapshot) { s.Labels = map[string]string{"a": "b"} }, false},
		"its phase":                 {func(s *v1alpha1.Snapshot) { s.Status.Phase = v1alpha1.SnapshotFailed }, true},
		"its spec":                  {func(s *v1alpha1.Snapshot) { s.Generation++ }, true},
		"its deletion":              {func(s *v1alpha1.Snapshot) { s.DeletionTimestamp = new(metav1.Now()) }, true},
		"a finalizer":               {func(s *v1alpha1.Snapshot) { s.Finalizers = nil }, true},
		"its time":                  {func(s *v1alpha1.Snapshot) { s.Status.SnapshotTime = new(metav1.Now()) }, true},
		"the result of a check":     {func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(true) }, true},
		"why its data is not gone":  {waits(v1alpha1.ReasonUnreachable, "Job a has not ended"), true},
		"who uses it":               {waits(v1alpha1.ReasonInUse, "Job b has not ended"), true},
		"the same user at each try": {waits(v1alpha1.ReasonInUse, "Job a has not ended"), false},
	} {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{v1alpha1.FinalizerWipe}}}
			waits(v1alpha1.ReasonInUse, "Job a has not ended")(before)
			after := before.DeepCopy()
			tt.edit(after)
			update := event.UpdateEvent{ObjectOld: before, ObjectNew: after}
			NewWithT(t).Expect(decisive.Update(update)).To(Equal(tt.want))
		})
	}
}

// A RestoreBatch holds Snapshots of all Repositories until it has chosen. If it ends before, they can go.
func TestARestoreBatchThatEndsEarlyIsAReasonToLookAgain(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	snapshot := func(namespace, batch string) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: batch}}
		s.Labels = map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: batch,
		}
		s.Spec.Repository = batch + "-web"
		return s
	}
	r := &Reconciler{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		snapshot("shop", "shop"), snapshot("shop", "blog"), snapshot("copy", "shop")).Build()}
	b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "copy", Name: "back"}}
	b.Spec.DataSource.Namespace, b.Spec.DataSource.BackupBatch = "shop", "shop"
	g.Expect(r.ofRestoreBatch(t.Context(), b)).To(ConsistOf(request("shop", "shop-web")))
	b.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{
		Namespace: "shop", Targets: []v1alpha1.ResolvedRestoreTarget{{Repository: "shop-db"}},
	}
	g.Expect(r.ofRestoreBatch(t.Context(), b)).To(ConsistOf(request("shop", "shop-db")))
}
