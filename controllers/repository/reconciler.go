// Package repository reconciles Repositories: it finds or creates each repository in its directory through an init Job,
// and counts its Snapshots.
//
// A Reconciler is safe for concurrent use. Invariants: the older of two Repositories in one directory wins
// (TestOfTwoRepositoriesOfOneDirectoryTheOlderWins), one that its storage does not allow blocks nobody
// (TestARepositoryOfAStrangerBlocksNobody), an init waits for the pod of an earlier one
// (TestAnInitWaitsForThatOfADeletedRepository), and at most ten Repositories of a storage are initialised at a time
// (TestManyRepositoriesAreInitialisedTenAtATime).
package repository

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/repositories"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
)

// departureInterval is the interval at which a Repository is checked that a deleted policy is about to delete.
const departureInterval = time.Minute

// Reconciler reconciles Repositories.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads Secrets and Namespaces from the API server.
	APIReader client.Reader
	// Clock decides when a failed init Job is retried.
	Clock clock.PassiveClock
	// Stopwatch is the time since the start of the process, whatever its clock does. Nil means that the clock is right.
	Stopwatch func() time.Duration
	// MoverImage is the image of init Jobs.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress decides to which servers movers can connect. Nil has the built-in rules.
	Egress *egress.Policy
	// ClusterName is what {cluster} in a directoryPrefix stands for.
	ClusterName string
	// FieldManager owns all writes.
	FieldManager string

	queue      *initjob.Queue
	steadiness retention.Steadiness
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.RepositoryKind,
		Warnings: []status.Warning{{Condition: v1alpha1.ConditionVolumeSnapshotsAtRisk}},
	}
}

// Reconcile brings one Repository's init Job and status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	repository := &v1alpha1.Repository{}
	if err := r.Get(ctx, req.NamespacedName, repository); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, repository) {
		return ctrl.Result{}, nil
	}
	if !repository.DeletionTimestamp.IsZero() {
		result, err := r.finalize(ctx, repository)
		if apierrors.IsConflict(err) {
			logs.DecidesAgain(ctx, err)
			return ctrl.Result{RequeueAfter: time.Second}, nil
		}
		return result, err
	}
	if !controllerutil.ContainsFinalizer(repository, v1alpha1.FinalizerWipe) {
		// the patch triggers another reconcile
		return ctrl.Result{}, r.writer().Hold(ctx, repository, v1alpha1.FinalizerWipe)
	}
	departs, err := repositories.Settle(ctx, r.writer(), r.APIReader, repository)
	if apierrors.IsConflict(err) {
		logs.DecidesAgain(ctx, err)
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	result, err := r.writer().Reconcile(ctx, req.NamespacedName, repository,
		func(ctx context.Context) (ctrl.Result, error) { return r.reconcile(ctx, repository) })
	if departs && err == nil {
		result.RequeueAfter = run.EarlierOf(result.RequeueAfter, departureInterval)
	}
	return result, err
}

// reconcile sets all conditions or, with an error, leaves them as they are. The generation counts as observed only with
// the conditions.
func (r *Reconciler) reconcile(ctx context.Context, repository *v1alpha1.Repository) (ctrl.Result, error) {
	counts, err := r.count(ctx, repository)
	if err != nil {
		return ctrl.Result{}, err
	}
	result, err := r.judge(ctx, repository, counts)
	if err != nil {
		return ctrl.Result{}, err
	}
	result.RequeueAfter = run.EarlierOf(result.RequeueAfter, counts.again)
	return result, nil
}

// judge sets all conditions.
func (r *Reconciler) judge(
	ctx context.Context, repository *v1alpha1.Repository, counts counted,
) (ctrl.Result, error) {
	if policy.HoldsVolumeSnapshots(repository) {
		warn(repository, counts.snapshots)
		repository.Status.Integrity = integrity(counts.snapshots)
		status := statusOf(repository)
		status.Done, status.Usable = "VolumeSnapshots need no backend", "VolumeSnapshots can be kept"
		status.Ready()
		return ctrl.Result{}, nil
	}
	r.remember(repository, doubtOf(repository, counts, false))
	if _, err := layout.NormalizeDirectory(repository.Spec.Path); err != nil {
		statusOf(repository).Stalled(v1alpha1.ReasonInvalidPath, err.Error()+": create another Repository")
		return ctrl.Result{}, nil
	}
	// Who has no right to the storage hears nothing about the directories of others in it.
	storage, err := r.storage(ctx, repository)
	if reason, message, ok := access.ReasonOf(err); ok {
		statusOf(repository).NotReady(reason, message)
		return ctrl.Result{}, nil // the storage and the namespace are watched
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	elder, err := directories.Elder(ctx, r.Client, r.ClusterName, repository)
	if err != nil {
		return ctrl.Result{}, err
	}
	if elder != nil {
		statusOf(repository).Stalled(v1alpha1.ReasonDirectoryTaken,
			index.Taken(repository, elder)+": create another Repository in another directory")
		return ctrl.Result{}, nil
	}
	if storage.Status.Phase != v1alpha1.PhaseReady || storage.Status.ObservedGeneration != storage.Generation {
		key := client.ObjectKeyFromObject(storage)
		statusOf(repository).NotReady(v1alpha1.ReasonStorageNotReady, fmt.Sprintf(
			"BackupStorage %s is not ready: run kubectl describe backupstorage %s -n %s", key, key.Name, key.Namespace))
		return ctrl.Result{}, nil // the storage is watched
	}
	if policy.Lost(repository) && policy.KeepsIn(repository, storage) { // what an init Job found, only Ready says
		r.remember(repository, doubts{taken: true})
	}
	return r.initialise(ctx, repository, storage, counts)
}

// storage returns the repository's BackupStorage, or an *access.Error that says why this namespace can't use it.
func (r *Reconciler) storage(ctx context.Context, repository *v1alpha1.Repository) (*v1alpha1.BackupStorage, error) {
	key := repository.Spec.StorageRef.In(repository.Namespace)
	storage := &v1alpha1.BackupStorage{}
	err := r.Get(ctx, key, storage)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get BackupStorage %s: %w", key, err)
	}
	if err != nil {
		return nil, &access.Error{
			Reason:  v1alpha1.ReasonStorageNotFound,
			Message: fmt.Sprintf("there is no BackupStorage %s", key),
		}
	}
	return storage, access.AllowedRepository(ctx, r.Client, storage, r.ClusterName, repository)
}
