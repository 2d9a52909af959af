// Package oneshot reads and writes the objects that end once: BackupSessions, RestoreSessions and RestoreBatches.
//
// It keeps no state, so all functions are safe for concurrent use. Every write of a one-shot object fails with a
// conflict if the object changed since the decision was made. So an input is frozen only once, and an ended object
// never changes.
package oneshot

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
	"github.com/cairn-backup/cairn/internal/run"
)

// RetryAfterConflict is how soon a write is repeated after somebody else changed the object first.
const RetryAfterConflict = time.Second

// Keeper reads and writes the objects of one kind. Every write fails with a conflict if the object changed since the
// decision was made: a frozen input is never frozen twice, and an ended session never changes.
type Keeper struct {
	client.Client
	record.EventRecorder

	// Live reads past the cache.
	Live client.Reader
	// Owner is the field owner of all writes.
	Owner client.FieldOwner
}

// Reconcile reads the object that req names into s and calls step, which returns when to look again. It leaves records
// alone, and returns without an error if the object does not exist.
func (k Keeper) Reconcile(
	ctx context.Context, req ctrl.Request, s conditions.Getter, step func() (time.Duration, error),
) (ctrl.Result, error) {
	if err := k.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(s.GetAnnotations()) {
		return ctrl.Result{}, nil
	}
	after, err := step()
	if apierrors.IsConflict(err) {
		// The decision was made about an outdated state, so nothing was written.
		return ctrl.Result{RequeueAfter: RetryAfterConflict}, nil
	}
	return ctrl.Result{RequeueAfter: after}, err
}

// WriteStatus writes the status of after if it differs from that of before, and then emits event.
func (k Keeper) WriteStatus(ctx context.Context, before, after client.Object, event *run.Event) error {
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

// WriteMetadata writes the metadata of after if it differs from that of before.
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

// Release removes the finalizer of the controller from an ended session, so that it can be deleted.
func (k Keeper) Release(ctx context.Context, s client.Object) error {
	before := s.DeepCopyObject().(client.Object)
	controllerutil.RemoveFinalizer(s, v1alpha1.FinalizerCancel)
	return client.IgnoreNotFound(k.WriteMetadata(ctx, before, s))
}

// Newest returns a conflict unless s is the newest state of the object. Call it before making a Job: an outdated cache
// can hide that the session has ended, and the work would be done again.
func (k Keeper) Newest(ctx context.Context, s client.Object) error {
	live := s.DeepCopyObject().(client.Object)
	if err := k.Live.Get(ctx, client.ObjectKeyFromObject(s), live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get %s: %w", s.GetName(), err)
	} else if err != nil || live.GetUID() != s.GetUID() || live.GetResourceVersion() != s.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Group: v1alpha1.Group}, s.GetName(),
			fmt.Errorf("the cache is behind"))
	}
	return nil
}
