// Package kstatus carries out reconciles of objects whose status follows kstatus: it reads the object, lets the work be
// done, writes what changed and tells of it.
package kstatus

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Reporter reconciles objects of one kind. It is safe for concurrent use.
type Reporter struct {
	// Client that reads from the cache and writes.
	Client client.Client
	// Events gets a line for each change of readiness.
	Events record.EventRecorder
	// FieldManager of the status.
	FieldManager string
}

// again is how soon work is done again whose status was not written, because the object is not any more what it was.
const again = 200 * time.Millisecond

// Reconcile reads the object of the key into object, lets work change its status, and writes that once. Of records and of
// objects that are being deleted nothing is written; work is not called. An error of work is one that trying again may mend:
// the status that work leaves is written all the same, so it must be a true one. What was worked out from an object that
// somebody has changed meanwhile, or from a cache that lags, is not written: work is done again.
func (r Reporter) Reconcile(ctx context.Context, key client.ObjectKey, object conditions.Setter, work func(context.Context) (ctrl.Result, error)) (ctrl.Result, error) {
	if err := r.Client.Get(ctx, key, object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(object.GetAnnotations()) || !object.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	before := copyOf(object)
	result, err := work(ctx)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		result, err = ctrl.Result{}, nil // The object goes with its namespace.
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

// write writes the status where it has changed, conditions and all in one request: who waits for Ready must not find the phase
// of a moment ago beside it.
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

// announce tells of a change of readiness, once. That something has begun is no news.
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
