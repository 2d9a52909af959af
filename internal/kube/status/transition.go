package status

import (
	"context"
	"reflect"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
)

// logTransition logs how a write changed an object: a new phase, and a new outcome, at the level of information; a new
// reason to wait at V(1).
func (w Writer) logTransition(ctx context.Context, before, after client.Object) {
	was, is := readyOf(before), readyOf(after)
	from, to := phaseOf(before), phaseOf(after)
	log := logf.FromContext(ctx)
	if kind := w.kindOf(after); kind != w.Kind {
		log = log.WithValues(logs.Key(kind), klog.KObj(after))
	}
	if removalOf(before) != removalOf(after) {
		logRemoval(log, after)
	}
	switch {
	case from != to:
		log.Info("phase changed", "from", from, "to", to, "reason", is.Reason, "message", is.Message)
	case was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message:
	case is.Status == metav1.ConditionUnknown:
		log.V(1).Info("waits", "reason", is.Reason, "message", is.Message)
	case was.Status != is.Status || was.Reason != is.Reason:
		log.Info("readiness changed", "ready", is.Status, "reason", is.Reason, "message", is.Message)
	default:
		log.V(1).Info("message changed", "ready", is.Status, "reason", is.Reason, "message", is.Message)
	}
}

// logUnchanged logs at V(1) that an object still waits, or that there was nothing to write, with the reason that the
// object gives.
func (w Writer) logUnchanged(ctx context.Context, o client.Object) {
	log := logf.FromContext(ctx)
	if !log.V(1).Enabled() {
		return
	}
	if kind := w.kindOf(o); kind != w.Kind {
		log = log.WithValues(logs.Key(kind), klog.KObj(o))
	}
	if logRemoval(log, o) || phaseOf(o) == "" && readyOf(o).Type == "" {
		return // an object without phase and readiness has nothing to tell
	}
	is := readyOf(o)
	log = log.WithValues("phase", phaseOf(o), "ready", is.Status, "reason", is.Reason, "message", is.Message)
	if waiting(o) {
		log.V(1).Info("waits")
		return
	}
	log.V(1).Info("nothing to write")
}

// logRemoval logs at V(1) what keeps an object that is being deleted and whose data goes with it. It reports whether
// there is such a reason.
func logRemoval(log logr.Logger, o client.Object) bool {
	is := removalOf(o)
	if is.reason == "" {
		return false
	}
	log.V(1).Info("waits for the removal of its data", "reason", is.reason, "message", is.message)
	return true
}

// removal is why the data of a deleted object still exists.
type removal struct{ reason, message string }

// removalOf returns why the data of an object that is being deleted still exists. It is empty if nothing says so.
func removalOf(o client.Object) removal {
	getter, ok := o.(conditions.Getter)
	if !ok || o.GetDeletionTimestamp() == nil {
		return removal{}
	}
	is := conditions.Get(getter, v1alpha1.ConditionWiped)
	if is == nil || is.Status == metav1.ConditionTrue {
		return removal{}
	}
	return removal{is.Reason, is.Message}
}

// waiting reports whether an object waits for something that passes. One that has failed does not, and one that a
// person has to mend does not.
func waiting(o client.Object) bool {
	getter, ok := o.(conditions.Getter)
	return ok && conditions.IsReconciling(getter) || readyOf(o).Status == metav1.ConditionUnknown
}

// readyOf returns the condition Ready of an object, or an empty one.
func readyOf(o client.Object) metav1.Condition {
	if getter, ok := o.(conditions.Getter); ok {
		if ready := conditions.Get(getter, meta.ReadyCondition); ready != nil {
			return *ready
		}
	}
	return metav1.Condition{}
}

// phaseOf returns status.phase of an object, or "". Each kind has a type of its own for its phases.
func phaseOf(o client.Object) string {
	status := reflect.Indirect(reflect.ValueOf(o)).FieldByName("Status")
	if !status.IsValid() {
		return ""
	}
	if phase := status.FieldByName("Phase"); phase.IsValid() {
		return phase.String()
	}
	return ""
}

// kindOf returns the kind of an object. An object that was read through a typed client does not carry it.
func (w Writer) kindOf(o client.Object) string {
	gvk, err := w.Client.GroupVersionKindFor(o)
	if err != nil {
		return ""
	}
	return gvk.Kind
}
