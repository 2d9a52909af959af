package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func hanging(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }

// record removes the finalizer that waits for a Ledger's record, so that a deleted object goes.
func (w *world) record(o client.Object) {
	w.T.Helper()
	before := o.DeepCopyObject().(client.Object)
	o.SetFinalizers(nil)
	w.Expect(client.IgnoreNotFound(w.Client.Patch(w.T.Context(), o, client.MergeFrom(before)))).To(Succeed())
}

func TestTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = hanging
	w.restore("back", func(b *v1alpha1.RestoreBatch) { b.Spec.ExecutionOrder = v1alpha1.ExecutionSequential })
	for range 4 {
		w.Reconcile("back")
		w.Cluster()
	}
	w.Clock.SetTime(w.Clock.Now().Add(time.Hour + time.Second))
	b := w.settle("back")
	w.Expect(summary(b)).To(Equal([]string{
		"Failed/DeadlineExceeded of second", "web: Failed/DeadlineExceeded of second",
		"uploads: Failed/DeadlineExceeded of second", "db: Failed/DeadlineExceeded of second",
	}))
	w.Expect(w.children()).To(HaveLen(1), "a target that had not begun never begins")
}

// While its workload loses its pods, two Snapshots of the RestoreBatch are deleted. It holds the data of both, but the
// removal of one has begun all the same.
func TestASnapshotWhoseRemovalHasBegunIsNotRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pod := w.deployment("kubectl")
	w.restore("back", scalesWeb)
	for range 3 {
		w.Reconcile("back")
	}
	w.Expect(w.batch("back").Status.Resolved).NotTo(BeNil())
	for _, target := range []string{"uploads", "db"} {
		snap := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: "shop-" + target + "-second",
		}}
		bed.Edit(t, snap, func() { snap.Finalizers = []string{v1alpha1.FinalizerWipe} })
		w.Expect(w.Client.Delete(t.Context(), snap)).To(Succeed())
		if target == "db" {
			bed.EditStatus(t, snap, func() { retention.MarkRemovalBegan(snap) })
		}
	}
	w.gone(pod)
	w.Expect(summary(w.settle("back"))).To(Equal([]string{
		"Failed/TargetsFailed of second", "web: Succeeded/Succeeded of second",
		"uploads: Succeeded/Succeeded of second", "db: Invalid/SnapshotDamaged of second",
	}))
	w.Expect(w.Jobs()).To(HaveLen(2))
}

func TestDeletedWhileItRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = hanging
	w.restore("back", func(b *v1alpha1.RestoreBatch) { b.Spec.MaxParallel = new(int32(2)) })
	for range 4 {
		w.Reconcile("back")
		w.Cluster()
	}
	w.Expect(w.Client.Delete(t.Context(), w.batch("back"))).To(Succeed())
	b := w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonCancelled))
	for _, target := range b.Status.Targets {
		w.Expect(target.Reason).To(Equal(v1alpha1.ReasonCancelled), target.Name)
	}
	for _, s := range w.children() {
		w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed),
			"its mover is stopped before the RestoreBatch goes")
	}
	w.Expect(w.children()).To(HaveLen(2))
}

func TestDeletedBeforeItBegan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("back", func(b *v1alpha1.RestoreBatch) {
		b.Finalizers = []string{v1alpha1.FinalizerCancel, v1alpha1.FinalizerRecord}
	})
	w.Expect(w.Client.Delete(t.Context(), w.batch("back"))).To(Succeed())
	w.Expect(summary(w.settle("back"))).To(Equal([]string{"Failed/Cancelled of "}))
	w.Expect(w.children()).To(BeEmpty())
}

// Somebody deletes the RestoreSession of one target: the others go on.
func TestARestoreSessionThatIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = hanging
	w.restore("back")
	for range 4 {
		w.Reconcile("back")
		w.Cluster()
	}
	gone := &v1alpha1.RestoreSession{}
	w.Get("back-uploads", gone)
	w.record(gone)
	w.Expect(client.IgnoreNotFound(w.Client.Delete(t.Context(), gone))).To(Succeed())
	w.Outcome = kubelet.Succeed
	w.Expect(summary(w.settle("back"))).To(Equal([]string{
		"Failed/TargetsFailed of second", "web: Succeeded/Succeeded of second", "uploads: Failed/Cancelled of second",
		"db: Succeeded/Succeeded of second",
	}), "the RestoreSession is not created again: nobody knows what it wrote")
}

func TestANameThatIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Expect(w.Client.Create(t.Context(), &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "back-db"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "nothing"},
			DataSource: &v1alpha1.RestoreDataSource{Repository: "shop-db", Snapshot: v1alpha1.LatestSnapshot},
		},
	})).To(Succeed())
	w.restore("back")
	w.Expect(summary(w.settle("back"))).To(Equal([]string{
		"Failed/TargetsFailed of second", "web: Succeeded/Succeeded of second",
		"uploads: Succeeded/Succeeded of second",
		"db: Failed/NameConflict of second",
	}))
}

func TestAnotherNamespacesBatchNeedsConsent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		consent []string
		want    []string
	}{
		"of none":                 {nil, []string{"Failed/RestoreNotAllowed of "}},
		"of some is not enough":   {names[:2], []string{"Invalid/SnapshotNotFound of "}},
		"of all the Repositories": {names, whole("second")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, source := newWorld(t), newWorld(t)
			sessiontest.Create(t, w.Client, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "ours"},
				Data:       map[string][]byte{v1alpha1.EncryptionPassword: []byte("secret")},
			})
			for _, target := range tt.consent {
				repo := &v1alpha1.Repository{}
				source.Get("shop-"+target, repo)
				before := repo.DeepCopy()
				repo.Annotations = map[string]string{v1alpha1.AnnotationRestoreTo: w.Namespace}
				w.Expect(w.Client.Patch(t.Context(), repo, client.MergeFrom(before))).To(Succeed())
			}
			w.restore("back", func(b *v1alpha1.RestoreBatch) {
				b.Spec.DataSource.Namespace = source.Namespace
				b.Spec.DataSource.EncryptionSecret = &v1alpha1.ObjectReference{Name: "ours"}
			})
			w.Expect(summary(w.settle("back"))).To(Equal(tt.want))
		})
	}
}

// The CRD of an earlier version gave each RestoreBatch the restoreTimeout 6h.
func TestABatchThatIsCreatedAgainAfterAnUpgradeOverwritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("back", func(b *v1alpha1.RestoreBatch) {
		b.Spec.RestoreTimeout = &metav1.Duration{Duration: 6 * time.Hour} // the former default of the CRD
	})
	b := w.settle("back")
	for _, name := range names {
		claim := &corev1.PersistentVolumeClaim{}
		w.Get(name, claim)
		bed.Edit(t, claim, func() {
			stamp := restore.ParseStamp(claim.Annotations[v1alpha1.AnnotationRestored])
			// As the earlier version wrote it.
			stamp.Digest, stamp.Name = restorebatch.TargetDigest(policy.Digest(b.Spec), name), ""
			claim.Annotations[v1alpha1.AnnotationRestored] = stamp.String()
		})
	}
	w.forget("back")
	// The same file, with the CRD of now.
	w.restore("back", func(b *v1alpha1.RestoreBatch) { b.Spec.RestoreTimeout = nil })
	w.Expect(summary(w.settle("back"))[0]).To(HavePrefix("Skipped/AlreadyRestored"))
}
