package retention

import (
	"fmt"
	"testing"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestLogApplied checks the one line of each look: its level, and what it says.
func TestLogApplied(t *testing.T) {
	applied := &metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonApplied}
	pending := &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRemovalPending}
	held := &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRemovalHeld}
	inUse := &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonInUse}
	failed := &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRetentionPolicyNotAllowed}
	paused := &metav1.Condition{Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPaused}
	for name, tt := range map[string]struct {
		was, is *metav1.Condition
		want    string
	}{
		"the first look":         {nil, applied, "1 retention changed"},
		"nothing new":            {applied, applied, "1 nothing to do: the retention has not changed"},
		"a removal begins":       {applied, pending, "1 waits"},
		"a removal goes on":      {pending, pending, "1 waits"},
		"a removal is held":      {nil, held, "1 waits"},
		"a restore keeps one":    {pending, inUse, "1 waits"},
		"a restore still does":   {inUse, inUse, "1 waits"},
		"a removal ends":         {pending, applied, "1 retention changed"},
		"paused":                 {applied, paused, "1 retention changed"},
		"a failure":              {applied, failed, "0 retention changed"},
		"the first look fails":   {nil, failed, "0 retention changed"},
		"the same failure":       {failed, failed, "1 nothing to do: the retention has not changed"},
		"a failure ends":         {failed, applied, "0 retention changed"},
		"removal after failure":  {failed, pending, "0 retention changed"},
		"failure of the removal": {pending, failed, "0 retention changed"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var lines []string
			log := funcr.NewJSON(func(line string) { lines = append(lines, line) }, funcr.Options{Verbosity: 1})
			logApplied(logf.IntoContext(t.Context(), log), tt.was, tt.is)
			g.Expect(lines).To(ConsistOf(And(
				ContainSubstring(fmt.Sprintf(`"level":%c,"msg":%q`, tt.want[0], tt.want[2:])),
				ContainSubstring(`"reason":%q`, tt.is.Reason))))
		})
	}
}

// TestWhatBlocksTheRemovalsHasNoOrder looks at the same Snapshots in each order: a restore of one must not hide the
// failure of another.
func TestWhatBlocksTheRemovalsHasNoOrder(t *testing.T) {
	snapshot := func(name string, status metav1.ConditionStatus, reason string) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Name: name}}
		s.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionWiped, Status: status, Reason: reason, Message: name,
		}}
		return s
	}
	running := snapshot("running", metav1.ConditionUnknown, v1alpha1.ReasonProgressing)
	inUse := snapshot("inUse", metav1.ConditionFalse, v1alpha1.ReasonInUse)
	failed := snapshot("failed", metav1.ConditionFalse, v1alpha1.ReasonFailed)
	for _, tt := range []struct {
		snapshots []*v1alpha1.Snapshot
		want      *trouble
	}{
		{[]*v1alpha1.Snapshot{running}, nil},
		{[]*v1alpha1.Snapshot{running, inUse}, &trouble{v1alpha1.ReasonInUse, "inUse"}},
		{[]*v1alpha1.Snapshot{inUse, running}, &trouble{v1alpha1.ReasonInUse, "inUse"}},
		{[]*v1alpha1.Snapshot{inUse, failed, running}, &trouble{v1alpha1.ReasonFailed, "failed"}},
		{[]*v1alpha1.Snapshot{failed, running, inUse}, &trouble{v1alpha1.ReasonFailed, "failed"}},
		{[]*v1alpha1.Snapshot{running, inUse, failed}, &trouble{v1alpha1.ReasonFailed, "failed"}},
	} {
		g := NewWithT(t)
		var got *trouble
		for _, s := range tt.snapshots {
			got = worse(got, s)
		}
		g.Expect(got).To(Equal(tt.want))
	}
}
