package restore

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The warning about owners replaces the message of Partial only where they are all that is lost.
func TestAWarningOfOwnersHidesNothingElse(t *testing.T) {
	t.Parallel()
	const message = "all data is restored, except owners (entries: 10); hard links are files of their own (entries: 5)"
	for name, tt := range map[string]struct {
		lost         v1alpha1.RestoredComponent
		says, owners bool
	}{
		"a root": {v1alpha1.RestoredComponent{OwnersNotRestored: 10, AttributesNotRestored: 2}, false, true},
		"attributes": {
			v1alpha1.RestoredComponent{OwnersNotRestored: 10, AttributesNotRestored: 3}, true, true,
		},
		"hard links": {v1alpha1.RestoredComponent{OwnersNotRestored: 10, LinksNotRestored: 5}, true, true},
		"kept files": {v1alpha1.RestoredComponent{OwnersNotRestored: 10, ExtraKept: 7}, true, true},
		"no owners":  {v1alpha1.RestoredComponent{LinksNotRestored: 5}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), &v1alpha1.RestoreSession{}
			s.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"}
			s.Status.Phase = v1alpha1.RestoreSessionSucceeded
			s.Status.Components = map[string]v1alpha1.RestoredComponent{"data": tt.lost}
			s.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionPartial, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPartial,
				Message: message,
			}}
			says, owners := ContainSubstring(message), ContainSubstring("10 owners of files")
			if !tt.says {
				says = Not(says)
			}
			if !tt.owners {
				owners = Not(owners)
			}
			g.Expect(restoreWarning(s)).To(And(says, owners))
		})
	}
}
