package status

import (
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// These functions delete only conditions that no longer hold: deleting one and setting it again would change its
// lastTransitionTime.

// Ready reports that the object can be used.
func Ready(o conditions.Setter, message string) {
	conditions.Delete(o, meta.ReconcilingCondition)
	conditions.Delete(o, meta.StalledCondition)
	conditions.MarkTrue(o, meta.ReadyCondition, v1alpha1.ReasonReady, "%s", message)
}

// NotReady reports a problem after which Cairn tries again, or that ends by itself.
func NotReady(o conditions.Setter, reason, message string) {
	conditions.MarkReconciling(o, v1alpha1.ReasonProgressingWithRetry, "%s", message)
	conditions.MarkFalse(o, meta.ReadyCondition, reason, "%s", message)
}

// Stalled reports a problem that only a change of policy can solve.
func Stalled(o conditions.Setter, reason, message string) {
	conditions.MarkStalled(o, reason, "%s", message)
	conditions.MarkFalse(o, meta.ReadyCondition, reason, "%s", message)
}

// Progressing reports that the outcome is not known yet.
func Progressing(o conditions.Setter, message string) {
	conditions.MarkReconciling(o, v1alpha1.ReasonProgressing, "%s", message)
	conditions.MarkUnknown(o, meta.ReadyCondition, v1alpha1.ReasonProgressing, "%s", message)
}

// Because reports whether the object is not ready for the reason of a condition: both are false with the same message.
func Because(o conditions.Setter, condition string) bool {
	return conditions.IsFalse(o, meta.ReadyCondition) && conditions.IsFalse(o, condition) &&
		conditions.GetMessage(o, meta.ReadyCondition) == conditions.GetMessage(o, condition)
}
