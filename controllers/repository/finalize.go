package repository

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/keepers"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// wipeInterval is the interval at which a Repository is checked whose VolumeSnapshots are being deleted, or whose
// keeper is being stopped.
const wipeInterval = 2 * time.Second

// stuckInterval and longestStuck bound the delay before a Repository is checked again whose keeper has not wiped it.
// Nothing else tells that its kind begins to go, and takes it along. Each check reads from the API server.
const stuckInterval, longestStuck = time.Minute, 5 * time.Minute

// inUseInterval is the delay before a Repository is checked again that can't be wiped yet.
const inUseInterval = 15 * time.Second

// finalize carries out the deletionPolicy of a Repository that is being deleted.
func (r *Reconciler) finalize(ctx context.Context, repository *v1alpha1.Repository) (ctrl.Result, error) {
	if !slices.Contains(repository.Finalizers, v1alpha1.FinalizerWipe) {
		logs.BeingDeleted(ctx, "finalizers", repository.Finalizers)
		return ctrl.Result{}, nil
	}
	if repository.Status.InitializedSpec == "" && !policy.HoldsVolumeSnapshots(repository) {
		return ctrl.Result{}, r.release(ctx, repository, "unknown", "it was never initialized")
	}
	if repository.Spec.DeletionPolicy != v1alpha1.WipeOut {
		return r.keep(ctx, repository, retention.Unasked)
	}
	why, err := read.WhyKept(ctx, r.APIReader, repository)
	if err != nil {
		return ctrl.Result{}, err
	}
	wiped := conditions.IsTrue(repository, v1alpha1.ConditionWiped)
	switch { // Once it is wiped, it is too late: nothing is left to keep.
	case why != "" && !wiped:
		return r.keep(ctx, repository, why)
	case why.TakenAlong():
		return ctrl.Result{}, r.release(ctx, repository, "removed", "its data is gone already")
	}
	snapshots, err := snapshotsByRepository.Of(ctx, r.Client, repository.Namespace, repository.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if wiped {
		return r.wiped(ctx, repository, snapshots)
	}
	user, err := r.user(ctx, repository, snapshots)
	if err != nil {
		return ctrl.Result{}, err
	}
	if policy.HoldsVolumeSnapshots(repository) {
		return r.wipeVolumeSnapshots(ctx, repository, snapshots, user)
	}
	return r.wipe(ctx, repository, user)
}

// keep releases a Repository whose data stays, once no keeper removes it any more.
func (r *Reconciler) keep(
	ctx context.Context, repository *v1alpha1.Repository, why retention.Kept,
) (ctrl.Result, error) {
	works, err := keepers.Stop(ctx, r.Client, r.APIReader, repository, r.Clock.Now())
	if err != nil {
		return ctrl.Result{}, err
	}
	if works {
		before := repository.DeepCopy()
		conditions.MarkFalse(repository, v1alpha1.ConditionWiped, v1alpha1.ReasonCancelled,
			"the removal is being stopped: %s", why)
		return ctrl.Result{RequeueAfter: wipeInterval}, r.writer().Status(ctx, before, repository)
	}
	if why != retention.Unasked || retention.RemovalBegan(repository.Status.Conditions) {
		r.Event(repository, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, retention.Partly(
			why.Message(policy.HoldsVolumeSnapshots(repository)), repository.Status.Conditions))
	}
	return ctrl.Result{}, r.release(ctx, repository, "kept", string(why))
}

// user returns what works with the Repository's data, or "" if nothing does.
func (r *Reconciler) user(
	ctx context.Context, repository *v1alpha1.Repository, snapshots []*v1alpha1.Snapshot,
) (string, error) {
	used, err := restores.InUse(ctx, r.Client)
	if err != nil {
		return "", err
	}
	if user := used.Reader(repository); user != "" {
		return user, nil
	}
	for _, s := range snapshots {
		if user, err := used.User(ctx, r.Client, s); user != "" || err != nil {
			return user, err
		}
	}
	return "", nil
}

// wipe lets the keeper remove the directory, or reports what the removal waits for.
func (r *Reconciler) wipe(ctx context.Context, repository *v1alpha1.Repository, user string) (ctrl.Result, error) {
	before := repository.DeepCopy()
	reason, message, err := r.obstacle(ctx, repository, user)
	if err != nil {
		return ctrl.Result{}, err
	}
	is := conditions.Get(repository, v1alpha1.ConditionWiped)
	switch {
	case reason != "":
		conditions.MarkFalse(repository, v1alpha1.ConditionWiped, reason, "%s", message)
	case is == nil || slices.Contains(obstacles, is.Reason):
		conditions.MarkUnknown(repository, v1alpha1.ConditionWiped, v1alpha1.ReasonProgressing,
			"the directory in the backend is being removed")
	}
	age := r.Clock.Since(repository.DeletionTimestamp.Time)
	result := ctrl.Result{RequeueAfter: min(max(age/4, stuckInterval), longestStuck)}
	if reason == v1alpha1.ReasonInUse {
		result.RequeueAfter = inUseInterval
	}
	if err := r.writer().Status(ctx, before, repository); err != nil {
		return ctrl.Result{}, err
	}
	return result, nil
}

// obstacles are the reasons of obstacle.
var obstacles = []string{v1alpha1.ReasonInUse, v1alpha1.ReasonStorageNotFound, v1alpha1.ReasonStorageChanged}

// obstacle returns what keeps the keeper from removing the directory, or "". An empty place is not the one that was
// initialised: to find nothing there says nothing about the data.
func (r *Reconciler) obstacle(
	ctx context.Context, repository *v1alpha1.Repository, user string,
) (reason, message string, _ error) {
	giveUp := ", or annotate the Repository with " + retention.GiveUp(repository) + " to release it and leave its data"
	key := repository.Spec.StorageRef.In(repository.Namespace)
	storage := &v1alpha1.BackupStorage{}
	err := r.Get(ctx, key, storage)
	switch {
	case apierrors.IsNotFound(err):
		return v1alpha1.ReasonStorageNotFound,
			fmt.Sprintf("there is no BackupStorage %s: create it again%s", key, giveUp), nil
	case err != nil:
		return "", "", fmt.Errorf("get BackupStorage %s: %w", key, err)
	case !policy.KeepsIn(repository, storage):
		return v1alpha1.ReasonStorageChanged, fmt.Sprintf("BackupStorage %s or the path now names another place than "+
			"the one where the data is: name that one again%s", key, giveUp), nil
	case user != "":
		return v1alpha1.ReasonInUse, "the data is removed later: " + user, nil
	}
	return "", "", nil
}

// wiped deletes the Snapshots of a directory that is gone, and then releases the Repository.
func (r *Reconciler) wiped(
	ctx context.Context, repository *v1alpha1.Repository, snapshots []*v1alpha1.Snapshot,
) (ctrl.Result, error) {
	waiting := false
	for _, s := range snapshots {
		if !retention.Owns(repository, s) {
			continue
		}
		waiting = waiting || slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe)
		if s.DeletionTimestamp.IsZero() {
			if err := r.removeSnapshot(ctx, s); err != nil {
				return ctrl.Result{}, err
			}
		}
	}
	if waiting {
		logf.FromContext(ctx).V(1).Info("waits for its Snapshots to go")
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return ctrl.Result{}, r.release(ctx, repository, "removed", "its deletionPolicy is WipeOut")
}

// removeSnapshot writes that the Snapshot's data is gone, and deletes the Snapshot.
func (r *Reconciler) removeSnapshot(ctx context.Context, s *v1alpha1.Snapshot) error {
	before := s.DeepCopy()
	retention.MarkRepositoryWiped(s)
	if err := r.writer().Status(ctx, before, s); err != nil {
		return err
	}
	before = s.DeepCopy()
	s.Spec.DeletionPolicy = v1alpha1.WipeOut
	if err := r.writer().Object(ctx, before, s); err != nil {
		return err
	}
	err := r.Delete(logs.WithReason(ctx, v1alpha1.ReasonRepositoryWiped), s,
		client.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Snapshot %s: %w", s.Name, err)
	}
	return nil
}

// release removes the finalizer of the Repository, and logs what becomes of its data, and why.
func (r *Reconciler) release(ctx context.Context, repository *v1alpha1.Repository, data, why string) error {
	released, err := r.writer().Release(ctx, repository, v1alpha1.FinalizerWipe)
	if released {
		logf.FromContext(ctx).Info("released the Repository", "data", data, "why", why)
	}
	return err
}
