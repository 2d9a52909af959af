package get_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A restore without root can't set the attributes of the root directory of most volumes: it does not lack a thing.
func TestWhatARestoreLacks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		phase  v1alpha1.RestoreSessionPhase
		reason string
		lost   v1alpha1.RestoredComponent
		want   bool
	}{
		"nothing": {},
		"a root directory": {
			reason: v1alpha1.ReasonPartial,
			lost:   v1alpha1.RestoredComponent{OwnersNotRestored: 1, AttributesNotRestored: 2},
		},
		"owners": {
			reason: v1alpha1.ReasonPartial, lost: v1alpha1.RestoredComponent{OwnersNotRestored: 2}, want: true,
		},
		"attributes": {
			reason: v1alpha1.ReasonPartial, lost: v1alpha1.RestoredComponent{AttributesNotRestored: 3}, want: true,
		},
		"a link": {
			reason: v1alpha1.ReasonPartial, lost: v1alpha1.RestoredComponent{LinksNotRestored: 1}, want: true,
		},
		"a device": {
			reason: v1alpha1.ReasonPartial, lost: v1alpha1.RestoredComponent{DevicesNotRestored: 1}, want: true,
		},
		"data":      {reason: v1alpha1.ReasonHoldsLess, want: true},
		"all of it": {reason: v1alpha1.ReasonHoldsLess, phase: v1alpha1.RestoreSessionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.RestoreSession{}
			if s.Status.Phase = tt.phase; tt.phase == "" {
				s.Status.Phase = v1alpha1.RestoreSessionSucceeded
			}
			s.Status.Components = map[string]v1alpha1.RestoredComponent{"data": tt.lost}
			if tt.reason != "" {
				s.Status.Conditions = []metav1.Condition{
					{Type: v1alpha1.ConditionPartial, Status: metav1.ConditionTrue, Reason: tt.reason},
				}
			}
			g := NewWithT(t)
			s.Status.Reason = "Own"
			g.Expect(s.Lack() != nil).To(Equal(tt.want))
			shown := "Own"
			if tt.want {
				shown = tt.reason
			}
			g.Expect(s.ShownReason()).To(Equal(shown))
		})
	}
}
