package retention

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
	"github.com/cairn-backup/cairn/internal/text"
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
		"a restore keeps one":    {pending, inUse, "0 retention changed"},
		"the restore ends":       {inUse, pending, "0 retention changed"},
		"a restore still does":   {inUse, inUse, "1 waits"},
		"a removal ends":         {pending, applied, "1 retention changed"},
		"paused":                 {applied, paused, "1 retention changed"},
		"a failure":              {applied, failed, "0 retention changed"},
		"the first look fails":   {nil, failed, "0 retention changed"},
		"the same failure":       {failed, failed, "1 waits"},
		"a failure ends":         {failed, applied, "0 retention changed"},
		"removal after failure":  {failed, pending, "0 retention changed"},
		"failure of the removal": {pending, failed, "0 retention changed"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ctx, lines := loglines.Record(t.Context(), 1)
			logApplied(ctx, tt.was, tt.is)
			g.Expect(*lines).To(ConsistOf(And(
				ContainSubstring(`"level"=%c "msg"=%q`, tt.want[0], tt.want[2:]),
				ContainSubstring(`"reason"=%q`, tt.is.Reason))))
		})
	}
}

// A removal that waits for a restore is no failure, neither for the Repository nor for its sessions.
func TestASessionWaitsForARestore(t *testing.T) {
	g := NewWithT(t)
	out, ok := applied(&v1alpha1.Repository{}, &state{
		ref: &v1alpha1.ObjectReference{Name: "keep"}, removing: 1,
		failure: &trouble{v1alpha1.ReasonInUse, "RestoreSession shop/back reads it"},
	})
	g.Expect(ok).To(BeTrue())
	g.Expect(out.Phase).To(Equal(v1alpha1.RetentionPending))
	g.Expect(out.Error).To(BeEmpty())
}

// TestAnErrorFitsIntoTheSession reports a failure with the longest message that a mover can report, and our advice.
func TestAnErrorFitsIntoTheSession(t *testing.T) {
	long := &trouble{v1alpha1.ReasonFailed, strings.Repeat("x", text.MaxMessage) + ". Cairn tries again"}
	for name, s := range map[string]*state{
		"a failure": {ref: &v1alpha1.ObjectReference{Name: "keep"}, failure: long}, "a refusal": {refusal: long},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, ok := applied(&v1alpha1.Repository{}, s)
			g.Expect(ok).To(BeTrue())
			g.Expect(out.Phase).To(Equal(v1alpha1.RetentionFailedToApply))
			g.Expect(len(out.Error)).To(BeNumerically("<=", text.MaxMessage))
		})
	}
}
