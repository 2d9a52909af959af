package status

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
)

// again is how soon work is repeated whose status was not written because the object had changed.
const again = 200 * time.Millisecond

// Reconcile reads the object of the key into object, calls work to change its status, and writes the status once. It
// ignores records and objects that are being deleted. An error of work means that trying again can help: Reconcile
// writes the status all the same, so work must leave a true one. If another writer has changed the object meanwhile, or
// the cache lags, Reconcile does not write the status and work runs again.
func (w Writer) Reconcile(
	ctx context.Context, key client.ObjectKey, object conditions.Setter,
	work func(context.Context) (ctrl.Result, error),
) (ctrl.Result, error) {
	if err := w.Client.Get(ctx, key, object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, object) {
		return ctrl.Result{}, nil
	}
	if !object.GetDeletionTimestamp().IsZero() {
		logs.BeingDeleted(ctx)
		return ctrl.Result{}, nil
	}
	before := copyOf(object)
	result, err := work(ctx)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		result, err = ctrl.Result{}, nil // The object is deleted with its namespace.
	}
	switch written := w.Status(ctx, before, object); {
	case written == nil:
		w.announceReadiness(conditions.Get(before, meta.ReadyCondition), object)
		w.announceWarnings(before, object)
	case apierrors.IsConflict(written) && err == nil:
		logs.DecidesAgain(ctx, written)
		return ctrl.Result{RequeueAfter: again}, nil
	case !apierrors.IsConflict(written):
		err = kerrors.NewAggregate([]error{err, client.IgnoreNotFound(written)})
	}
	return result, err
}

// announceWarnings records an event for each warning that is new.
func (w Writer) announceWarnings(before, object conditions.Setter) {
	for _, warning := range w.Warnings {
		condition := warning.Condition
		message := conditions.GetMessage(object, condition)
		if conditions.IsTrue(object, condition) && (!conditions.IsTrue(before, condition) ||
			warning.EachMessage && conditions.GetMessage(before, condition) != message) {
			w.Events.Event(object, corev1.EventTypeWarning, conditions.GetReason(object, condition), message)
		}
	}
}

// announceReadiness records an event for a change of readiness. The start of work is not worth an event.
func (w Writer) announceReadiness(was *metav1.Condition, object conditions.Setter) {
	is := conditions.Get(object, meta.ReadyCondition)
	if is == nil || is.Reason == v1alpha1.ReasonProgressing ||
		was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	w.announce(object, is)
}

// RequeueAt returns the result that looks again at a time, but not within a second; the zero time means never.
func RequeueAt(at, now time.Time) ctrl.Result {
	if at.IsZero() {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: max(at.Sub(now), time.Second)}
}
