// Package snapshot lets Snapshots go that are being deleted and whose data stays: because deletionPolicy says so, because
// their namespace goes, or because somebody gave up. What is to be wiped is left to the keepers, but for VolumeSnapshots, which it removes
// itself: those of ours alone, where their labels and the Snapshot agree. It also removes what a failed backup left of these.
package snapshot

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
)

// Reconciler finalizes Snapshots.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server whether a namespace is being deleted, and VolumeSnapshots, which no cache has: a cluster may
	// lack the kind.
	APIReader client.Reader
	// Clock tells how long a VolumeSnapshot has been going.
	Clock clock.PassiveClock
	// FieldManager of what is written.
	FieldManager string
	// Metrics may be nil.
	Metrics *Metrics
	// SweepInterval is how often VolumeSnapshots are looked for that are left over; 0 is never.
	SweepInterval time.Duration
	// StuckAfter is when it is told that a VolumeSnapshot does not go; 0 is a minute.
	StuckAfter time.Duration

	called chan event.GenericEvent
}

// Reconcile takes the finalizers from one Snapshot that is being deleted, if nothing is to be removed from the backend, and removes what
// is left over of one that is not.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.Snapshot{}
	if err := r.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if s.DeletionTimestamp.IsZero() && !v1alpha1.HasRecordAnnotation(s.Annotations) {
		return r.clean(ctx, s)
	}
	if s.DeletionTimestamp.IsZero() || !slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe) {
		return ctrl.Result{}, nil
	}
	if err := r.mark(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if s.Spec.DeletionPolicy != v1alpha1.WipeOut || v1alpha1.HasRecordAnnotation(s.Annotations) {
		return ctrl.Result{}, r.release(ctx, s, v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
	}
	why, err := r.keeps(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != "" {
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, kept(ofVolumeSnapshots(s), why))
		return ctrl.Result{}, r.release(ctx, s, v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
	}
	return r.ofRepository(ctx, s)
}

// keeps says why the data stays although it was to be removed; empty: it does not.
func (r *Reconciler) keeps(ctx context.Context, s *v1alpha1.Snapshot) (string, error) {
	if s.Annotations[v1alpha1.AnnotationGiveUp] == "true" {
		return "its removal was given up", nil
	}
	var namespace corev1.Namespace
	if err := r.APIReader.Get(ctx, client.ObjectKey{Name: s.Namespace}, &namespace); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get Namespace %s: %w", s.Namespace, err)
	} else if err != nil || !namespace.DeletionTimestamp.IsZero() {
		return namespaceGoes, nil
	}
	return "", nil
}

const namespaceGoes = "the namespace is being deleted"

// kept says what becomes of the data, and why it is not removed.
func kept(volumeSnapshots bool, why string) string {
	switch {
	case !volumeSnapshots:
		return "the data stays in the backend: " + why
	case why == namespaceGoes:
		return "nothing is removed by Cairn: the namespace is being deleted, and its VolumeSnapshots with it; " +
			"the data of those stays whose VolumeSnapshotContent has deletionPolicy Retain"
	}
	return "the VolumeSnapshots stay: " + why
}

// ofRepository looks at the Snapshot's Repository: one that is gone leaves the data alone, one that was wiped has taken it
// along, and one without its storage can't be worked with.
func (r *Reconciler) ofRepository(ctx context.Context, s *v1alpha1.Snapshot) (ctrl.Result, error) {
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}
	err := lifecycle.Sure{Reader: r.Client, Live: r.APIReader}.Get(ctx, key, &repository)
	switch {
	case apierrors.IsNotFound(err):
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, kept(ofVolumeSnapshots(s), "its Repository is gone"))
		return ctrl.Result{}, r.release(ctx, s, v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("get Repository %s: %w", key, err)
	case policy.HoldsVolumeSnapshots(&repository):
		return r.wipe(ctx, s)
	case conditions.IsTrue(&repository, v1alpha1.ConditionWiped):
		return ctrl.Result{}, r.release(ctx, s, v1alpha1.FinalizerWipe)
	}
	return ctrl.Result{}, r.ofStorage(ctx, s, &repository)
}

// ofStorage says of a Snapshot that its Repository's storage is gone.
func (r *Reconciler) ofStorage(ctx context.Context, s *v1alpha1.Snapshot, repository *v1alpha1.Repository) error {
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
