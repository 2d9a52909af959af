// Package backupbatch reconciles BackupBatches: it keeps one child BackupConfiguration for each target, as
// policy.Expand computes it, and the CronJobs of the batch's sessions.
//
// A Reconciler is safe for concurrent use: its reconciles share nothing but caches. Invariants: a child whose name
// belongs to somebody else is left alone (TestForeignObjectIsLeftAlone), an invalid batch leaves its children in force
// (TestInvalidBatchLeavesItsChildrenInForce), and nothing but the deletion of the batch deletes data
// (TestWhatFallsOutOfABatchIsNotWiped).
package backupbatch

import (
	"context"
	"errors"

	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/repositories"
	"github.com/cairn-backup/cairn/internal/kube/selection"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/kube/trigger"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Reconciler reconciles BackupBatches.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server. The reconciler asks it before it creates an object, so that it takes over
	// nobody's object.
	APIReader client.Reader
	// Clock measures the slots of schedules.
	Clock clock.PassiveClock
	// MoverImage is the image of the CronJobs' pods.
	MoverImage string
	// FieldManager owns the fields that the reconciler applies.
	FieldManager string
	// EnsureTrigger creates the ServiceAccount of the CronJobs' pods in a namespace.
	EnsureTrigger func(ctx context.Context, namespace string) error

	// selection reads the objects that selectors find.
	selection selection.Reader
}

// maxDependencies limits the dependencies in the status.
const maxDependencies = 1000

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.BackupBatchKind,
		Warnings: []status.Warning{
			{Condition: v1alpha1.ConditionTargetsOverlap, EachMessage: true},
			{Condition: v1alpha1.ConditionSelectorFindsNothing, EachMessage: true},
			{Condition: v1alpha1.ConditionRepositoriesRetained, EachMessage: true},
		},
	}
}

// Reconcile brings the children, the CronJobs and the status of one BackupBatch up to date. When the batch is deleted,
// its children go with it; Repositories and data stay, unless the batch says otherwise for a target that it has.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	batch := &v1alpha1.BackupBatch{}
	if done, result, err := r.bound(ctx, req, batch); done || err != nil {
		return result, err
	}
	return r.writer().Reconcile(ctx, req.NamespacedName, batch, func(ctx context.Context) (ctrl.Result, error) {
		return r.reconcile(ctx, batch)
	})
}

// reconcile does the work and sets the status. A failure holds up nothing that does not need what failed. The status
// names what the API server refuses; beside another error it keeps the last state of what Cairn does not know.
func (r *Reconciler) reconcile(ctx context.Context, batch *v1alpha1.BackupBatch) (ctrl.Result, error) {
	now := r.Clock.Now()
	keeper := &trigger.Scheduler{
		Client: r.Client, Reader: r.APIReader, Events: r.EventRecorder, Runs: runs,
		MoverImage: r.MoverImage, FieldManager: r.FieldManager, EnsureAccess: r.EnsureTrigger,
	}
	found, failed := r.look(ctx, batch)
	if failed != nil || len(found.mistakes) > 0 {
		_, after, err := keeper.Schedule(ctx, batch, failed == nil || !trigger.KnownValid(batch), now)
		failed = errors.Join(failed, err)
		if len(found.mistakes) > 0 {
			batch.Status.ObservedGeneration = batch.Generation
			markInvalid(batch, found.mistakes)
		} else if refused, _ := trigger.Refusals(failed); len(refused) > 0 {
			markRefused(batch, refused, now)
		}
		return trigger.Retry(ctx, after, failed)
	}

	var dependencies policy.Dependencies
	before := batch.Status.Targets
	targets, failed := r.ensureChildren(ctx, batch, found.find, &dependencies)
	if targets != nil {
		batch.Status.Targets = targets // of which the schedule tells what has no backup yet
		markEmptySelectors(batch)      // and what its sessions were to find
	}
	conflicts, after, err := keeper.Schedule(ctx, batch, false, now)
	failed = errors.Join(failed, err)
	retained, err := r.binder().Retained(ctx, batch.Namespace, invokerOf(batch),
		policy.BatchRepositories(batch, policy.Targets(batch, found.find)))
	if failed = errors.Join(failed, err); err == nil {
		batch.Status.RetainedRepositories = retained
		repositories.SetRetained(batch, retained)
	}
	refused, others := trigger.Refusals(failed)
	switch {
	case others != nil && len(refused) == 0: // The next try can succeed: the rest of the status keeps its state.
		batch.Status.Targets = before
	case targets == nil && len(refused) > 0:
		markRefused(batch, refused, now)
	default:
		batch.Status.Dependencies = dependencies[:min(len(dependencies), maxDependencies)]
		batch.Status.ObservedGeneration = batch.Generation
		summarize(batch, problems{found.missing, conflicts, refused}, now)
		r.findOverlaps(ctx, batch, found)
	}
	return trigger.Retry(ctx, after, failed)
}

// findOverlaps sets the condition TargetsOverlap. A workload that can't be read only leaves it as it is: it is no more
// than a warning.
func (r *Reconciler) findOverlaps(ctx context.Context, batch *v1alpha1.BackupBatch, found found) {
	mounting, err := r.selection.Mounting(ctx, r.Client, r.APIReader, batch)
	if err != nil {
		ctrl.LoggerFrom(ctx).V(1).Info("can't tell what is backed up twice", "reason", err.Error())
		return
	}
	markOverlaps(batch, policy.Overlaps(batch, policy.Targets(batch, found.find),
		append(mounting, found.candidates...)))
}

// found is what a look at the batch finds: its targets, what is wrong with it, and what its hooks name that is missing.
type found struct {
	candidates        []policy.Candidate
	find              policy.Find
	mistakes, missing []policy.Mistake
}

// look finds out what the batch asks for, and whether it can be expanded.
func (r *Reconciler) look(ctx context.Context, batch *v1alpha1.BackupBatch) (f found, err error) {
	if f.candidates, err = r.selection.Candidates(ctx, r.Client, r.APIReader, batch); err != nil {
		return found{}, err
	}
	f.find = policy.FindAmong(batch, f.candidates)
	if f.mistakes = policy.BatchMistakes(batch, f.find); len(f.mistakes) == 0 {
		f.mistakes, f.missing, err = r.checkHooks(ctx, batch)
	}
	return f, err
}
