package ledger

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Somebody can take the finalizer off a Snapshot that does not go. Then no keeper has removed its data.
func TestARecordSaysRemovedOnlyOfDataThatIsGone(t *testing.T) {
	t.Parallel()
	const retained, wiped = v1alpha1.ConditionRetained, v1alpha1.ConditionWiped
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason}
	}
	for name, tt := range map[string]struct {
		conditions []metav1.Condition
		want       string
	}{
		"nobody has begun": {want: "Snapshot shop/s Unknown"},
		"no keeper has removed it": {
			conditions: []metav1.Condition{condition(wiped, metav1.ConditionFalse, v1alpha1.ReasonUnreachable)},
			want:       "Snapshot shop/s Unknown (Unreachable)",
		},
		"retention let it go, and the removal failed": {
			conditions: []metav1.Condition{
				condition(retained, metav1.ConditionFalse, v1alpha1.ReasonNotKept),
				condition(wiped, metav1.ConditionFalse, v1alpha1.ReasonUnreachable),
			},
			want: "Snapshot shop/s Unknown (Unreachable)",
		},
		"retention let it go": {
			conditions: []metav1.Condition{condition(retained, metav1.ConditionFalse, v1alpha1.ReasonNotKept)},
			want:       "Snapshot shop/s Unknown (NotKept)",
		},
		"it was deleted, and the data of its VolumeSnapshots stays": {
			conditions: []metav1.Condition{
				condition(retained, metav1.ConditionFalse, v1alpha1.ReasonDeleted),
				condition(wiped, metav1.ConditionFalse, v1alpha1.ReasonDataKept),
			},
			want: "Snapshot shop/s Unknown (DataKept)",
		},
		"a keeper has removed it": {
			conditions: []metav1.Condition{
				condition(retained, metav1.ConditionFalse, v1alpha1.ReasonDeleted),
				condition(wiped, metav1.ConditionTrue, v1alpha1.ReasonWiped),
			},
			want: "Snapshot shop/s Removed (Deleted)",
		},
		"its VolumeSnapshots are gone": {
			conditions: []metav1.Condition{
				condition(retained, metav1.ConditionFalse, v1alpha1.ReasonNotKept),
				condition(wiped, metav1.ConditionTrue, v1alpha1.ReasonWiped),
			},
			want: "Snapshot shop/s Removed (NotKept)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "s", UID: "uid-snapshot", DeletionTimestamp: new(metav1.Now()),
			}}
			s.Status.Phase, s.Status.Conditions = v1alpha1.SnapshotSucceeded, tt.conditions
			records, err := PruneRecord("production", s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(objectLine(records[0].Object)).To(Equal(tt.want))
		})
	}
}
