package kstatus

import (
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A condition is deleted only where it does not hold, so that one that still holds keeps its time.

// Ready says that the object can be used.
func Ready(o conditions.Setter, message string) {
	conditions.Delete(o, meta.ReconcilingCondition)
	conditions.Delete(o, meta.StalledCondition)
	conditions.MarkTrue(o, meta.ReadyCondition, v1alpha1.ReasonReady, "%s", message)
}

// NotReady says what went wrong and is tried again, or passes by itself.
func NotReady(o conditions.Setter, reason, message string) {
	conditions.MarkReconciling(o, v1alpha1.ReasonProgressingWithRetry, "%s", message)
	conditions.MarkFalse(o, meta.ReadyCondition, reason, "%s", message)
}

// Stalled says what only a change of policy can mend.
func Stalled(o conditions.Setter, reason, message string) {
	conditions.MarkStalled(o, reason, "%s", message)
	conditions.MarkFalse(o, meta.ReadyCondition, reason, "%s", message)
}

// Progressing says that it can't be told yet.
func Progressing(o conditions.Setter, message string) {
	conditions.MarkReconciling(o, v1alpha1.ReasonProgressing, "%s", message)
	conditions.MarkUnknown(o, meta.ReadyCondition, v1alpha1.ReasonProgressing, "%s", message)
}

// Because says whether the object is not ready for what a condition tells: both are false with one message.
func Because(o conditions.Setter, condition string) bool {
	return conditions.IsFalse(o, meta.ReadyCondition) && conditions.IsFalse(o, condition) &&
		conditions.GetMessage(o, meta.ReadyCondition) == conditions.GetMessage(o, condition)
}

// maxMessage keeps a condition's message readable, in bytes; the API server's limit is 32,768.
const maxMessage = 2048

// Join makes one message of several. What would make it too long to be read is left out.
func Join(messages []string) string {
	message := strings.Join(messages, "; ")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + " …"
	}
	return message
}
