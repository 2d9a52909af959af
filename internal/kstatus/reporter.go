// Package kstatus carries out reconciles of objects whose status follows kstatus: it reads the object, lets the work be
// done, writes what changed and tells of it.
package kstatus

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/patch"

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
	// Owned are the conditions that only this controller sets, beside Ready, Reconciling and Stalled.
	Owned []string
}

// Reconcile reads the object of the key into object, lets work change its status, and writes that once. Of records and of
// objects that are being deleted nothing is written; work is not called. An error of work is one that trying again may mend:
// the status that work leaves is written all the same, so it must be a true one.
func (r Reporter) Reconcile(ctx context.Context, key client.ObjectKey, object conditions.Setter, work func(context.Context) (ctrl.Result, error)) (result ctrl.Result, retErr error) {
	if err := r.Client.Get(ctx, key, object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(object.GetAnnotations()) || !object.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	before := conditions.Get(object, meta.ReadyCondition)
	if before != nil {
		before = before.DeepCopy()
	}
	patcher := patch.NewSerialPatcher(object, r.Client)
	defer func() {
		owned := append([]string{meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition}, r.Owned...)
		err := patcher.Patch(ctx, object, patch.WithOwnedConditions{Conditions: owned}, patch.WithFieldOwner(r.FieldManager))
		if err != nil {
			retErr = kerrors.NewAggregate([]error{retErr, client.IgnoreNotFound(err)})
			return
		}
		r.announce(before, object)
	}()
	result, err := work(ctx)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return ctrl.Result{}, nil // The object goes with its namespace.
	}
	return result, err
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
