// Package backupbatch reconciles BackupBatches: it keeps one child BackupConfiguration a target, as policy.Expand says, and
// the CronJobs of the batch's sessions.
package backupbatch

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/controller"
	"github.com/fluxcd/pkg/runtime/patch"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/trigger"
)

// Reconciler reconciles BackupBatches.
type Reconciler struct {
	client.Client
	record.EventRecorder
	controller.Metrics

	// APIReader reads from the API server. It is asked before anything is made, so that nobody's object is taken over.
	APIReader client.Reader
	// Scheme of the client.
	Scheme *runtime.Scheme
	// Clock tells the next slots.
	Clock clock.PassiveClock
	// MoverImage is the image of the CronJobs' pods.
	MoverImage string
	// FieldManager of what is applied.
	FieldManager string
	// EnsureTrigger makes the account of the CronJobs' pods in a namespace.
	EnsureTrigger func(ctx context.Context, namespace string) error
}

// Reconcile brings one BackupBatch's children, CronJobs and status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, retErr error) {
	start := r.Clock.Now()
	batch := &v1alpha1.BackupBatch{}
	if err := r.Get(ctx, req.NamespacedName, batch); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(batch.Annotations) {
		return ctrl.Result{}, nil
	}
	if !batch.DeletionTimestamp.IsZero() {
		r.record(ctx, batch)
		return ctrl.Result{}, nil // The garbage collector removes the children; Repositories and data stay.
	}

	before := batch.DeepCopy()
	patcher := patch.NewSerialPatcher(batch, r.Client)
	defer func() {
		if err := patcher.Patch(ctx, batch, patchOptions(r.FieldManager)...); err != nil {
			retErr = kerrors.NewAggregate([]error{retErr, client.IgnoreNotFound(err)})
			return
		}
		r.announce(before, batch)
		r.record(ctx, batch)
		r.RecordDuration(ctx, batch, start)
	}()
	return r.reconcile(ctx, batch)
}

// reconcile does the work and sets the status. An error is one that trying again may mend; the status keeps its last word.
func (r *Reconciler) reconcile(ctx context.Context, batch *v1alpha1.BackupBatch) (ctrl.Result, error) {
	now := r.Clock.Now()
	sessions := policy.BatchSessions(batch)
	if mistakes := policy.BatchMistakes(batch); len(mistakes) > 0 {
		batch.Status.Sessions, _ = trigger.Status(batch.Status.Sessions, sessions, trigger.Untouched(sessions), now, batch.Generation)
		batch.Status.ObservedGeneration = batch.Generation
		markInvalid(batch, mistakes)
		return ctrl.Result{}, nil
	}

	targets, err := r.ensureChildren(ctx, batch)
	if err != nil {
		return ctrl.Result{}, err
	}
	keeper := &trigger.Keeper{
		Client: r.Client, Reader: r.APIReader, MoverImage: r.MoverImage, FieldManager: r.FieldManager, EnsureAccess: r.EnsureTrigger,
	}
	conflicts, err := keeper.Ensure(ctx, batch, sessions)
	if err != nil {
		return ctrl.Result{}, err
	}
	statuses, next := trigger.Status(batch.Status.Sessions, sessions, conflicts, now, batch.Generation)
	batch.Status.Targets, batch.Status.Sessions = targets, statuses
	batch.Status.ObservedGeneration = batch.Generation
	summarize(batch, sessions, conflicts)
	return ctrl.Result{RequeueAfter: trigger.After(now, next, conflicts)}, nil
}

// announce tells of a change of readiness, once.
func (r *Reconciler) announce(before, after *v1alpha1.BackupBatch) {
	was, is := conditions.Get(before, readyCondition), conditions.Get(after, readyCondition)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	kind := corev1.EventTypeNormal
	if !conditions.IsReady(after) {
		kind = corev1.EventTypeWarning
	}
	r.Event(after, kind, is.Reason, is.Message)
}

func (r *Reconciler) record(ctx context.Context, batch *v1alpha1.BackupBatch) {
	r.RecordReadiness(ctx, batch)
	r.RecordReconciling(ctx, batch)
	r.RecordStalled(ctx, batch)
}
