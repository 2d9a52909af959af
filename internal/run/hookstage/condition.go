package hookstage

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// SetCondition sets the condition that says how the hooks of a stage ended.
func SetCondition(
	cs *[]metav1.Condition, kind string, hooks []v1alpha1.HookStatus, name, succeeded, failed string, generation int64,
	now time.Time,
) {
	if failures := Failures(hooks); failures != "" {
		run.Set(cs, kind, metav1.ConditionFalse, failed, failures, generation, now)
		return
	}
	message := "no " + name + " hook had to run"
	if slices.ContainsFunc(hooks, func(h v1alpha1.HookStatus) bool { return h.Phase == v1alpha1.HookSucceeded }) {
		message = "the " + name + " hooks succeeded"
	}
	run.Set(cs, kind, metav1.ConditionTrue, succeeded, message, generation, now)
}
