// Package snapshot releases Snapshots that are being deleted and whose data stays: because of their deletionPolicy,
// because their namespace is being deleted, or because somebody gave up the removal. It leaves the removal of data to
// the keepers, except for VolumeSnapshots, which it removes itself: only ours, where their labels and the Snapshot
// agree. It also removes VolumeSnapshots that a failed backup left behind.
//
// A Reconciler is safe for concurrent use; one goroutine at a time reconciles a Snapshot. It keeps no state but answers
// of the API server for others that asked before: each reconcile looks again for the VolumeSnapshots that still exist.
package snapshot

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/keepers"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// Reconciler finalizes Snapshots.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server whether a namespace is being deleted, and VolumeSnapshots with their
	// contents. No cache holds these, because a cluster can lack the kinds.
	APIReader client.Reader
	// Clock measures how long a VolumeSnapshot or content has been terminating, and the age of a condition.
	Clock clock.PassiveClock
	// FieldManager owns all writes.
	FieldManager string
	// Metrics can be nil.
	Metrics *Metrics
	// SweepInterval is the interval of the search for leftover VolumeSnapshots; 0 means never.
	SweepInterval time.Duration
	// StuckAfter is the time after which a VolumeSnapshot or content that keeps terminating is reported; 0 means a
	// minute.
	StuckAfter time.Duration

	called  chan event.GenericEvent
	answers shared
	// kind and repositories remember that the kind of Snapshots, and that of Repositories, stays.
	kind, repositories kindStays
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.SnapshotKind}
}

// Reconcile removes the finalizers of a Snapshot that is being deleted, once nothing needs removing from the backend.
// For a Snapshot that is not being deleted it removes leftover VolumeSnapshots.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.Snapshot{}
	if err := r.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if s.DeletionTimestamp.IsZero() {
		if logs.LeavesRecord(ctx, s) {
			return ctrl.Result{}, nil
		}
		return r.clean(ctx, s)
	}
	if !slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe) {
		logs.BeingDeleted(ctx, "finalizers", s.Finalizers)
		return ctrl.Result{}, nil
	}
	result, err := r.finalize(ctx, s)
	if apierrors.IsConflict(err) {
		logs.DecidesAgain(ctx, err)
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	return result, err
}

// finalize removes the finalizers of a Snapshot that is being deleted, or says what it waits for.
func (r *Reconciler) finalize(ctx context.Context, s *v1alpha1.Snapshot) (ctrl.Result, error) {
	if err := r.mark(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case v1alpha1.HasRecordAnnotation(s.Annotations):
		return ctrl.Result{}, r.release(ctx, s, "it was applied from a record", v1alpha1.FinalizerWipe,
			v1alpha1.FinalizerRecord)
	case s.Spec.DeletionPolicy != v1alpha1.WipeOut:
		return r.keep(ctx, s, retention.Unasked)
	}
	why, err := r.whyKept(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != "" {
		return r.keep(ctx, s, why)
	}
	return r.ofRepository(ctx, s)
}

// keep releases a Snapshot whose data stays, once no keeper removes it any more.
func (r *Reconciler) keep(ctx context.Context, s *v1alpha1.Snapshot, why retention.Kept) (ctrl.Result, error) {
	works, err := keepers.Stop(ctx, r.Client, r.APIReader, s, r.Clock.Now())
	if err != nil {
		return ctrl.Result{}, err
	}
	if works {
		return ctrl.Result{RequeueAfter: soon}, r.markWaiting(ctx, s, wait{
			reason: v1alpha1.ReasonCancelled, cause: "the removal is being stopped: " + string(why),
		})
	}
	marks, err := r.marks(ctx, s, why)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != retention.Unasked || retention.RemovalBegan(marks) {
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, retention.Partly(
			why.Message(ofVolumeSnapshots(s)), marks))
	}
	return ctrl.Result{}, r.release(ctx, s, string(why), v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
}

// marks returns the conditions that say whether a part of the data of a Snapshot can be gone: its own, or those of its
// Repository. The wipe of a Repository takes its Snapshots along without a mark on them.
func (r *Reconciler) marks(
	ctx context.Context, s *v1alpha1.Snapshot, why retention.Kept,
) ([]metav1.Condition, error) {
	own := s.Status.Conditions
	if retention.RemovalBegan(own) || why == retention.RepositoryGone || ofVolumeSnapshots(s) {
		return own, nil
	}
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}
	err := r.APIReader.Get(ctx, key, &repository) // The cache can lack the mark.
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, fmt.Errorf("get Repository %s: %w", key, err)
	case err == nil && retention.Owns(&repository, s) && retention.RemovalBegan(repository.Status.Conditions):
		return repository.Status.Conditions, nil
	}
	return own, nil
}

// ofRepository checks the Snapshot's Repository: without Repository the data stays, a wiped Repository has taken the
// data along, and without its storage the removal can't start.
func (r *Reconciler) ofRepository(ctx context.Context, s *v1alpha1.Snapshot) (ctrl.Result, error) {
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}
	err := read.FallbackReader{Reader: r.Client, Live: r.APIReader}.Get(ctx, key, &repository)
	switch {
	case apierrors.IsNotFound(err):
		return r.keep(ctx, s, retention.RepositoryGone)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("get Repository %s: %w", key, err)
	case policy.HoldsVolumeSnapshots(&repository):
		return r.wipe(ctx, s)
	case !retention.Owns(&repository, s):
		return r.keep(ctx, s, retention.RepositoryGone)
	case conditions.IsTrue(&repository, v1alpha1.ConditionWiped):
		const why = "its data went with the Repository"
		if err := r.markWiped(ctx, s, true, why); err != nil {
			return ctrl.Result{}, err
		}
		return ctrl.Result{}, r.release(ctx, s, why, v1alpha1.FinalizerWipe)
	case released(&repository):
		return r.keep(ctx, s, retention.RepositoryGone)
	}
	return r.ofStorage(ctx, s, &repository)
}

// ofStorage waits for the keeper to remove the data of a Snapshot. If the storage of its Repository is gone, no keeper
// can, and the Snapshot says so. It looks again, because nothing tells that the storage or the kind of Snapshots goes.
// Thousands can wait, and each look reads from the API server: so the longer one waits, the less often it looks.
func (r *Reconciler) ofStorage(
	ctx context.Context, s *v1alpha1.Snapshot, repository *v1alpha1.Repository,
) (ctrl.Result, error) {
	again := ctrl.Result{RequeueAfter: min(max(r.Clock.Since(s.DeletionTimestamp.Time)/4, seldom), rarely)}
	storage := repository.Spec.StorageRef.In(repository.Namespace)
	switch err := r.Get(ctx, storage, &v1alpha1.BackupStorage{}); {
	case err == nil:
		logf.FromContext(ctx).V(1).Info("waits for the keeper to remove its data")
		return again, nil
	case !apierrors.IsNotFound(err):
		return ctrl.Result{}, err
	}
	return again, r.markWaiting(ctx, s, wait{reason: v1alpha1.ReasonStorageNotFound, cause: fmt.Sprintf(
		"there is no BackupStorage %s: create it again, or annotate the Snapshot with %s to release it and "+
			"leave its data", storage, retention.GiveUp(s))})
}

// markWiped writes whether the data of a Snapshot is gone: see retention.MarkWiped.
func (r *Reconciler) markWiped(ctx context.Context, s *v1alpha1.Snapshot, gone bool, why string) error {
	before := s.DeepCopy()
	if !retention.MarkWiped(s, gone, why) {
		return nil
	}
	return client.IgnoreNotFound(r.writer().Status(ctx, before, s))
}

// release removes finalizers from the Snapshot, in one write, and logs why.
func (r *Reconciler) release(ctx context.Context, s *v1alpha1.Snapshot, why string, finalizers ...string) error {
	released, err := r.writer().Release(ctx, s, finalizers...)
	if released {
		logf.FromContext(ctx).Info("released the Snapshot", "why", why)
	}
	return err
}
