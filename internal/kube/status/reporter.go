// Package status reconciles objects whose status follows the kstatus conventions: it reads the object, calls the work
// function, writes what changed and records an event. A Reporter is safe for concurrent use, a Patcher belongs to one
// reconcile. Invariant: each write carries the whole status, so that no reader sees a condition without its phase.
package status

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Reporter reconciles objects of one kind. It is safe for concurrent use.
type Reporter struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Events receives an event for each change of readiness.
	Events record.EventRecorder
	// FieldManager is the field manager of the status.
	FieldManager string
}

// again is how soon work is repeated whose status was not written because the object had changed.
const again = 200 * time.Millisecond

// Reconcile reads the object of the key into object, calls work to change its status, and writes the status once. It
// ignores records and objects that are being deleted. An error of work means that trying again can help: Reconcile
// writes the status all the same, so work must leave a true one. If another writer has changed the object meanwhile, or
// the cache lags, Reconcile does not write the status and work runs again.
func (r Reporter) Reconcile(
	ctx context.Context, key client.ObjectKey, object conditions.Setter, work func(context.Context) (ctrl.Result,
		error),
) (ctrl.Result, error) {
	if err := r.Client.Get(ctx, key, object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(object.GetAnnotations()) || !object.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	before := copyOf(object)
	result, err := work(ctx)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		result, err = ctrl.Result{}, nil // The object is deleted with its namespace.
	}
	switch written := r.write(ctx, before, object); {
	case written == nil:
		r.announce(conditions.Get(before, meta.ReadyCondition), object)
	case apierrors.IsConflict(written) && err == nil:
		return ctrl.Result{RequeueAfter: again}, nil
	case !apierrors.IsConflict(written):
		err = kerrors.NewAggregate([]error{err, client.IgnoreNotFound(written)})
	}
	return result, err
}

// write writes the status if it has changed, in one request: a reader who waits for Ready must not find an outdated
// phase beside it.
func (r Reporter) write(ctx context.Context, before, after conditions.Setter) error {
	changes, err := client.MergeFrom(before).Data(after)
	if err != nil {
		return fmt.Errorf("compare %s with what it was: %w", after.GetName(), err)
	}
	if string(changes) == "{}" {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, after, patch, client.FieldOwner(r.FieldManager)); err != nil {
		return fmt.Errorf("write status of %s: %w", after.GetName(), err)
	}
	return nil
}

// announce records an event for a change of readiness. The start of work is not worth an event.
func (r Reporter) announce(was *metav1.Condition, object conditions.Setter) {
	is := conditions.Get(object, meta.ReadyCondition)
	if is == nil || is.Reason == v1alpha1.ReasonProgressing ||
		was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	kind := corev1.EventTypeNormal
	if is.Status != metav1.ConditionTrue {
		kind = corev1.EventTypeWarning
	}
	r.Events.Event(object, kind, is.Reason, is.Message)
}
