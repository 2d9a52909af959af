package status

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Each state sets the conditions that kstatus expects, whatever the state before.
func TestStatesReplaceEachOther(t *testing.T) {
	states := map[string]func(conditions.Setter){
		"ready":       func(o conditions.Setter) { Ready(o, "can be used") },
		"not ready":   func(o conditions.Setter) { NotReady(o, v1alpha1.ReasonUnreachable, "100% down") },
		"stalled":     func(o conditions.Setter) { Stalled(o, v1alpha1.ReasonInvalidPath, "wrong path") },
		"progressing": func(o conditions.Setter) { Progressing(o, "begun") },
	}
	wanted := map[string]map[string]string{
		"ready": {meta.ReadyCondition: "True Ready can be used"},
		"not ready": {
			meta.ReadyCondition:       "False Unreachable 100% down",
			meta.ReconcilingCondition: "True ProgressingWithRetry 100% down",
		},
		"stalled": {
			meta.ReadyCondition: "False InvalidPath wrong path", meta.StalledCondition: "True InvalidPath wrong path",
		},
		"progressing": {
			meta.ReadyCondition: "Unknown Progressing begun", meta.ReconcilingCondition: "True Progressing begun",
		},
	}
	for before, first := range states {
		for after, second := range states {
			t.Run(before+", then "+after, func(t *testing.T) {
				o := &v1alpha1.Repository{}
				first(o)
				second(o)
				got := map[string]string{}
				for _, c := range o.Status.Conditions {
					got[c.Type] = string(c.Status) + " " + c.Reason + " " + c.Message
				}
				NewWithT(t).Expect(got).To(Equal(wanted[after]))
			})
		}
	}
}

func TestBecause(t *testing.T) {
	g := NewWithT(t)
	o := &v1alpha1.Repository{}
	g.Expect(Because(o, v1alpha1.ConditionRepositoryInitialized)).To(BeFalse(), "no condition is set")
	conditions.MarkFalse(o, v1alpha1.ConditionRepositoryInitialized, v1alpha1.ReasonFailed, "full")
	NotReady(o, v1alpha1.ReasonStorageFull, "full")
	g.Expect(Because(o, v1alpha1.ConditionRepositoryInitialized)).To(BeTrue())
	NotReady(o, v1alpha1.ReasonStorageNotReady, "the storage is not ready")
	g.Expect(Because(o, v1alpha1.ConditionRepositoryInitialized)).To(BeFalse(), "another problem came since")
	Ready(o, "full")
	g.Expect(Because(o, v1alpha1.ConditionRepositoryInitialized)).To(BeFalse())
}
