package retention_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// TestWhatBlocksTheRemovals looks for what blocks several removals.
func TestWhatBlocksTheRemovals(t *testing.T) {
	snapshot := func(name string, status metav1.ConditionStatus, reason string) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Name: name}}
		s.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionWiped, Status: status, Reason: reason, Message: name,
		}}
		return s
	}
	running := snapshot("running", metav1.ConditionUnknown, v1alpha1.ReasonProgressing)
	inUse := snapshot("inUse", metav1.ConditionFalse, v1alpha1.ReasonInUse)
	pending := snapshot("pending", metav1.ConditionFalse, v1alpha1.ReasonRemovalPending)
	failed := snapshot("failed", metav1.ConditionFalse, v1alpha1.ReasonFailed)
	for _, tt := range []struct {
		snapshots []*v1alpha1.Snapshot
		want      *v1alpha1.Snapshot
	}{
		{[]*v1alpha1.Snapshot{running}, nil},
		{[]*v1alpha1.Snapshot{running, inUse}, inUse},
		{[]*v1alpha1.Snapshot{inUse, running}, inUse},
		{[]*v1alpha1.Snapshot{inUse, failed, running}, failed},
		{[]*v1alpha1.Snapshot{failed, running, inUse}, failed},
		{[]*v1alpha1.Snapshot{running, inUse, failed}, failed},
		{[]*v1alpha1.Snapshot{inUse, snapshot("other", metav1.ConditionFalse, v1alpha1.ReasonInUse)}, inUse},
		{[]*v1alpha1.Snapshot{pending, failed}, failed},
	} {
		g := NewWithT(t)
		g.Expect(retention.Blocked(tt.snapshots)).To(Equal(tt.want))
	}
}
