// Package snapshot lets Snapshots go that are being deleted and whose data stays: because deletionPolicy says so, because
// their namespace goes, or because somebody gave up. What is to be wiped is left to the keepers.
package snapshot

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
)

// Reconciler finalizes Snapshots.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server whether a namespace is being deleted.
	APIReader client.Reader
	// FieldManager of what is written.
	FieldManager string
}

// Reconcile takes the finalizers from one Snapshot that is being deleted, if nothing is to be removed from the backend.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.Snapshot{}
	if err := r.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if s.DeletionTimestamp.IsZero() || !slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe) {
		return ctrl.Result{}, nil
	}
	if s.Spec.DeletionPolicy != v1alpha1.WipeOut || v1alpha1.HasRecordAnnotation(s.Annotations) {
		return ctrl.Result{}, r.release(ctx, s, v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
	}
	why, err := r.keeps(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != "" {
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, "the data stays in the backend: "+why)
		return ctrl.Result{}, r.release(ctx, s, v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
	}
	return ctrl.Result{}, r.ofRepository(ctx, s)
}

// keeps says why the data stays although it was to be removed; empty: it does not.
func (r *Reconciler) keeps(ctx context.Context, s *v1alpha1.Snapshot) (string, error) {
	if s.Annotations[v1alpha1.AnnotationGiveUp] == "true" {
		return "its removal was given up", nil
	}
	var namespace corev1.Namespace
	if err := r.APIReader.Get(ctx, client.ObjectKey{Name: s.Namespace}, &namespace); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get namespace %s: %w", s.Namespace, err)
	} else if err != nil || !namespace.DeletionTimestamp.IsZero() {
		return "the namespace is being deleted", nil
	}
	return "", nil
}

// ofRepository looks at the Snapshot's Repository: one that is gone leaves the data alone, one that was wiped has taken it
// along, and one without its storage can't be worked with.
func (r *Reconciler) ofRepository(ctx context.Context, s *v1alpha1.Snapshot) error {
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}
	err := lifecycle.Sure{Reader: r.Client, Live: r.APIReader}.Get(ctx, key, &repository)
	switch {
	case apierrors.IsNotFound(err):
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, "the data stays in the backend: its Repository is gone")
		return r.release(ctx, s, v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
	case err != nil:
		return fmt.Errorf("get Repository %s: %w", key, err)
	case conditions.IsTrue(&repository, v1alpha1.ConditionWiped):
		return r.release(ctx, s, v1alpha1.FinalizerWipe)
	}
	storage := client.ObjectKey{Namespace: repository.Spec.StorageRef.Namespace, Name: repository.Spec.StorageRef.Name}
	if storage.Namespace == "" {
		storage.Namespace = repository.Namespace
	}
	if err := r.Get(ctx, storage, &v1alpha1.BackupStorage{}); !apierrors.IsNotFound(err) {
		return err
	}
	before := s.DeepCopy()
	conditions.MarkFalse(s, v1alpha1.ConditionWiped, v1alpha1.ReasonStorageNotFound,
		"there is no BackupStorage %s: make it again, or annotate the Snapshot with %s=true to let it go and leave the data", storage, v1alpha1.AnnotationGiveUp)
	if conditions.GetReason(before, v1alpha1.ConditionWiped) == v1alpha1.ReasonStorageNotFound {
		return nil
	}
	return client.IgnoreNotFound(r.Status().Patch(ctx, s, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(r.FieldManager)))
}

// release takes finalizers from the Snapshot, in one write.
func (r *Reconciler) release(ctx context.Context, s *v1alpha1.Snapshot, finalizers ...string) error {
	before := s.DeepCopy()
	for _, f := range finalizers {
		controllerutil.RemoveFinalizer(s, f)
	}
	err := r.Patch(ctx, s, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(r.FieldManager))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release Snapshot %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}
