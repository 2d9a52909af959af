package ledger

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// removed creates a Snapshot that retention deleted. FinalizerWipe holds it until its data is gone.
func (w *world) removed(name string, finalizers ...string) *v1alpha1.Snapshot {
	w.t.Helper()
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Finalizers: finalizers,
			Labels: map[string]string{v1alpha1.LabelSession: "hourly"},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01J4A6Z8Q3M5N7P9R1S3T5V7X0", Repository: "shop-web", Session: "hourly", BackupSession: "run-1",
			Version:        "v1",
			AppRef:         v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
			DeletionPolicy: v1alpha1.WipeOut,
		},
		Status: v1alpha1.SnapshotStatus{
			Phase: v1alpha1.SnapshotSucceeded, TotalComponents: 1,
			Components: map[string]v1alpha1.Component{
				"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: "k1234", SizeBytes: 12},
			},
			Conditions: []metav1.Condition{{
				Type: v1alpha1.ConditionRetained, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotKept,
				Message: "RetentionPolicy shop/keep: no rule keeps it", LastTransitionTime: metav1.Now(),
			}, {
				Type: v1alpha1.ConditionWiped, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonWiped,
				Message: "its data is removed", LastTransitionTime: metav1.Now(),
			}},
		},
	}
	w.createWithStatus(s)
	if err := bed.Client.Delete(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
	return get(w, s)
}

func TestRecordOfAPrune(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	gone := w.removed("shop-web-run-1", v1alpha1.FinalizerRecord)
	held := w.removed("shop-web-run-2", v1alpha1.FinalizerRecord, v1alpha1.FinalizerWipe)
	w.settle(l)

	month := gone.DeletionTimestamp.UTC().Format("2006-01")
	path := "clusters/production/records/" + w.namespace + "/repository.shop-web/" + month + "/shop-web-run-1-" +
		string(gone.UID)[:8] + ".yaml"
	g.Expect(w.files("clusters/production/records")).To(Equal([]string{path}))
	record := w.git("show", branch+":"+path)
	for _, text := range []string{
		"kind: Snapshot", "backup.cairn.dev/record: production", "reason: NotKept",
		"message: 'RetentionPolicy shop/keep: no rule keeps it'",
		"deletionPolicy: WipeOut", "id: k1234",
	} {
		g.Expect(record).To(ContainSubstring(text))
	}
	g.Expect(w.git("log", "-1", "--format=%B", branch)).To(And(
		HavePrefix(w.namespace+": 1 removed"), ContainSubstring("Snapshot "+w.namespace+
			"/shop-web-run-1 Removed (NotKept)\n")))
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(gone), gone))).
		To(BeTrue(), "the Snapshot was released")
	g.Expect(get(w, held).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord), "its data is not gone yet")
}

// A removed Snapshot waits for room in the outbox: no deletion waits for it.
func TestAPruneWaitsForRoom(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.fill(l)
	s := w.removed("shop-web-run-1", v1alpha1.FinalizerRecord)
	w.pass(11 * time.Minute)
	result, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(fullRetry))
	g.Expect(get(w, s).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))
}

// Another Ledger does not record a removed Snapshot again and again because one Ledger has no room for it. It knows
// from the Snapshot's status that it has the record, also after a restart.
func TestAPruneThatAnotherLedgerHasNoRoomFor(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	full := w.ledger("full", func(l *v1alpha1.Ledger) { l.Spec.Suspend = true })
	l := w.ledger("ledger")
	w.fill(full)
	s := w.removed("shop-web-run-1", v1alpha1.FinalizerRecord)
	for i := range 3 {
		w.pass(time.Minute)
		_, err := w.collect()
		g.Expect(err).NotTo(HaveOccurred())
		if i > 0 {
			g.Expect(w.parcels()).To(HaveLen(maxParcels), "its record is in Git already")
		}
		_, err = w.push(l)
		g.Expect(err).NotTo(HaveOccurred())
		w.restart()
	}
	g.Expect(get(w, s).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord), "the other Ledger has no record")
	g.Expect(s.Status.Records).To(Equal([]v1alpha1.RecordStatus{{Ledger: w.namespace + "/ledger", Commit: w.tip()}}))
	g.Expect(w.parcels()).To(HaveLen(maxParcels))
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(1))

	g.Expect(bed.Client.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace(w.namespace),
		client.HasLabels{v1alpha1.LabelLedger})).To(Succeed())
	w.pass(time.Minute)
	_, err := w.collect()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.parcels()).To(HaveLen(1), "now there is room")
	g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s))).To(BeTrue())
}
