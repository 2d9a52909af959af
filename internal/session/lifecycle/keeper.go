// Package lifecycle is what the reconcilers of BackupSessions and RestoreSessions have in common: how a session is read and
// written, and what is looked up for one.
package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
)

// Again is how soon a write is tried again that somebody else was faster with.
const Again = time.Second

// Keeper reads and writes the sessions of one kind. Every write fails with a conflict when the object is not the one that
// was decided upon: a frozen input is never frozen twice, and an ended session never changes.
type Keeper struct {
	client.Client
	record.EventRecorder

	// Live reads past the cache.
	Live client.Reader
	// Owner of the fields that are written.
	Owner client.FieldOwner
}

// Reconcile reads the session that req names into s and takes it further with step, which says when to look again. A
// session that is not there, or is a record, is left alone.
func (k Keeper) Reconcile(ctx context.Context, req ctrl.Request, s conditions.Getter, step func() (time.Duration, error)) (ctrl.Result, error) {
	if err := k.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(s.GetAnnotations()) {
		return ctrl.Result{}, nil
	}
	after, err := step()
	if apierrors.IsConflict(err) {
		// What was decided upon is not the newest state, so it was not written.
		return ctrl.Result{RequeueAfter: Again}, nil
	}
	return ctrl.Result{RequeueAfter: after}, err
}

// WriteStatus writes the status of after, if it is another than that of before, and then tells about it.
func (k Keeper) WriteStatus(ctx context.Context, before, after client.Object, event *session.Event) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := k.Status().Patch(ctx, after, patch, k.Owner); err != nil {
		return fmt.Errorf("write status of %s: %w", after.GetName(), err)
	}
	if event != nil {
		k.Event(after, event.Type, event.Reason, event.Message)
	}
	return nil
}

// WriteMetadata writes the metadata of after, if it is other than that of before.
func (k Keeper) WriteMetadata(ctx context.Context, before, after client.Object) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := k.Patch(ctx, after, patch, k.Owner); err != nil {
		return fmt.Errorf("patch %s: %w", after.GetName(), err)
	}
	return nil
}

// Release lets an ended session be deleted, as far as its controller is concerned.
func (k Keeper) Release(ctx context.Context, s client.Object) error {
	before := s.DeepCopyObject().(client.Object)
	controllerutil.RemoveFinalizer(s, v1alpha1.FinalizerCancel)
	return client.IgnoreNotFound(k.WriteMetadata(ctx, before, s))
}

// Newest makes sure that s is the newest state of its session: an error is a conflict when it is not. A Job is made only
// then: a cache that does not show yet that the session ended would have it done again.
func (k Keeper) Newest(ctx context.Context, s client.Object) error {
	live := s.DeepCopyObject().(client.Object)
	if err := k.Live.Get(ctx, client.ObjectKeyFromObject(s), live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get %s: %w", s.GetName(), err)
	} else if err != nil || live.GetUID() != s.GetUID() || live.GetResourceVersion() != s.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Group: v1alpha1.Group}, s.GetName(), fmt.Errorf("the cache is behind"))
	}
	return nil
}
