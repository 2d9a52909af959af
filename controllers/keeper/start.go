package keeper

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/keepers"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// start creates the Job and what it needs. The fixed name allows only one Job at a time.
func (r *Reconciler) start(
	ctx context.Context, p place, storage *v1alpha1.BackupStorage, lease *lease, work []keeper.Work,
) (ctrl.Result, error) {
	// A try reads all that the Job is to remove, and what a refusal says of a Snapshot is an event.
	if after := r.pauses.Left(p.id(), r.Clock.Now()); after > 0 {
		return ctrl.Result{RequeueAfter: after}, nil
	}
	job, err := r.job(ctx, r.APIReader, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	if job != nil {
		return r.occupied(ctx, job, work)
	}
	if after, err := r.blocked(ctx, p, work); err != nil || after > 0 {
		return ctrl.Result{RequeueAfter: after}, err
	}
	usable, err := r.usable(ctx, p, storage, work)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(usable) == 0 {
		return ctrl.Result{RequeueAfter: storageInterval}, nil
	}
	next := lease.attempts.Apart(usable, r.Clock.Now())
	if slices.ContainsFunc(next, func(w keeper.Work) bool { return w.Scan != "" }) {
		if err := r.removePages(ctx, p.namespace, p.name()); err != nil { // of a Job that somebody deleted
			return ctrl.Result{}, err
		}
	}
	if job, err = r.build(ctx, p, storage, lease, next); err == nil {
		err = r.create(ctx, job, next)
	}
	if refusal := movers.RefusalOf(movers.AsDenial(err)); refusal != nil {
		return r.refused(ctx, p, usable, refusal)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: lookAgain}, nil
}

// refused says on the objects of the work why the API server does not take the Job, and logs that when it begins. The
// words of the API server follow Cairn's.
func (r *Reconciler) refused(
	ctx context.Context, p place, work []keeper.Work, refusal *v1alpha1.ResolvedError,
) (ctrl.Result, error) {
	if slices.ContainsFunc(work, func(w keeper.Work) bool { return !says(&w, refusal.Reason) }) {
		logf.FromContext(ctx).Info("the keeper is refused", "repositories", len(work), "reason", refusal.Reason,
			"message", refusal.Message)
	}
	problem := status.Problem{Text: refusal.Message}
	if what, words, ok := strings.Cut(refusal.Message, ": "); ok && run.CanPass(refusal) {
		problem = status.Problem{Text: what + ": ", Words: words}
	}
	for i := range work {
		if err := r.failFor(ctx, &work[i], refusal.Reason, problem); err != nil {
			return ctrl.Result{}, err
		}
	}
	refused := movers.Refusals{p.name(): {Reason: v1alpha1.ReasonCreationRefused, Message: refusal.Message}}
	return ctrl.Result{RequeueAfter: r.pauses.Begin(p.id(), r.Clock.Now(), refused, storageInterval)}, nil
}

// says reports whether all objects of the work say already that it fails for a reason.
func says(w *keeper.Work, reason string) bool {
	for _, condition := range w.Conditions() {
		if conditions.GetReason(w.Repository, condition) != reason {
			return false
		}
	}
	return !slices.ContainsFunc(w.Snapshots, func(s *v1alpha1.Snapshot) bool {
		return conditions.GetReason(s, v1alpha1.ConditionWiped) != reason
	})
}

// build makes what the Job needs, and returns the Job.
func (r *Reconciler) build(
	ctx context.Context, p place, storage *v1alpha1.BackupStorage, lease *lease, work []keeper.Work,
) (*batchv1.Job, error) {
	if err := access.EnsureMover(ctx, r.Client, p.namespace); err != nil {
		return nil, err
	}
	privileged, err := access.Privileged(ctx, r.Client, p.namespace)
	if err != nil {
		return nil, err
	}
	if err := r.hold(ctx, p, lease); err != nil {
		return nil, err
	}
	in := moverjob.KeepJobInput{
		Owner: lease.owner(), Name: p.name(), Namespace: p.namespace, Label: p.name(), Storage: storage,
		Image: r.MoverImage, ClusterUID: r.ClusterUID, Privileged: privileged, Egress: r.Egress.Rules(),
		Time: new(metav1.NewTime(r.Clock.Now())),
	}
	for i := range work {
		w := &work[i]
		if err := r.witness(ctx, w); err != nil {
			return nil, err
		}
		credentials, err := r.credentials(ctx, p, storage, lease, w, i)
		if err != nil {
			return nil, err
		}
		in.StorageSecret = credentials.StorageSecret
		in.Work = append(in.Work, moverjob.KeepWork{
			Repository: w.Repository, EncryptionSecret: credentials.EncryptionSecret, Remove: w.Removed(), Wipe: w.Wipe,
			Maintain: w.Maintain, Check: w.Check, Witnesses: w.Witnesses, Scan: w.Scan,
		})
	}
	return moverjob.KeepJob(in)
}

// witness names what must be in the repository while the Job removes or maintains there.
func (r *Reconciler) witness(ctx context.Context, w *keeper.Work) error {
	if !w.Removes() && w.Maintain == "" {
		return nil
	}
	existing, err := r.existing(ctx, w.Repository)
	if err == nil {
		w.Witness(existing, r.Clock.Now())
	}
	return err
}

// create creates the Job. Before that it notes what the Job removes, and before that it asks the API server whether it
// takes the Job: what a refused Job would have removed must not be said to be partly gone.
func (r *Reconciler) create(ctx context.Context, job *batchv1.Job, work []keeper.Work) error {
	if err := access.MayRun(ctx, r.Client, r.APIReader, work[0].Repository, job); err != nil {
		return err
	}
	if slices.ContainsFunc(work, func(w keeper.Work) bool { return w.Wipe || len(w.Snapshots) > 0 }) {
		err := r.Create(ctx, job.DeepCopy(), client.FieldOwner(r.FieldManager), client.DryRunAll)
		if err != nil && !apierrors.IsAlreadyExists(err) && !strings.Contains(err.Error(), "not support dry run") {
			return fmt.Errorf("create Job %s/%s: %w", job.Namespace, job.Name, err)
		}
	}
	if err := r.begin(ctx, work); err != nil {
		return err
	}
	if err := r.Create(ctx, job, client.FieldOwner(r.FieldManager)); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	return nil
}

// begin notes on the Repositories and Snapshots whose data the Job removes that a part of it can be gone from now on.
func (r *Reconciler) begin(ctx context.Context, work []keeper.Work) error {
	for i := range work {
		var all []conditions.Setter
		if work[i].Wipe {
			all = append(all, work[i].Repository)
		}
		for _, s := range work[i].Snapshots {
			all = append(all, s)
		}
		for _, o := range all {
			before := o.DeepCopyObject().(client.Object)
			if !retention.MarkRemovalBegan(o) {
				continue
			}
			if err := r.writer().Status(ctx, before, o); err != nil {
				return fmt.Errorf("note that the removal of the data of %s/%s begins: %w", o.GetNamespace(),
					o.GetName(), err)
			}
		}
	}
	return nil
}

// blocked returns after which time the start of a Job can be tried again, and logs why it has to wait. It returns 0 if
// nothing is in the way.
func (r *Reconciler) blocked(ctx context.Context, p place, work []keeper.Work) (time.Duration, error) {
	busy, err := r.busy(ctx, p)
	if err != nil {
		return 0, err
	}
	if busy {
		logf.FromContext(ctx).V(1).Info("waits, because a pod of an earlier Job still runs")
		return lookAgain, nil
	}
	behind, err := r.behind(ctx, work)
	if err != nil {
		return 0, err
	}
	if behind {
		logs.CacheIsBehind(ctx)
		return soon, nil
	}
	return 0, nil
}

// usable leaves out what idle does, and work for which a credential or password is missing, and reports that on the
// objects of the work.
func (r *Reconciler) usable(
	ctx context.Context, p place, storage *v1alpha1.BackupStorage, all []keeper.Work,
) ([]keeper.Work, error) {
	all, err := r.idle(ctx, all)
	if err != nil {
		return nil, err
	}
	var out []keeper.Work
	for i := range all {
		_, err := access.Digest(ctx, r.APIReader, p.namespace, access.ForMaintenance(storage, p.namespace),
			passwordOf(&all[i]))
		if err == nil {
			err = access.AllowedRepository(ctx, r.Client, storage, r.ClusterName, all[i].Repository)
		}
		if reason, message, ok := access.ReasonOf(err); ok {
			logf.FromContext(ctx).V(1).Info("leaves work out", "repository", klog.KObj(all[i].Repository),
				"snapshots", len(all[i].Snapshots), "reason", reason, "message", message)
			if err := r.fail(ctx, &all[i], reason, message); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, all[i])
	}
	return out, nil
}

// busy reports whether a pod of an earlier Job still runs.
func (r *Reconciler) busy(ctx context.Context, p place) (bool, error) {
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(p.namespace),
		client.MatchingLabels{v1alpha1.LabelKeeper: p.name()}); err != nil {
		return false, fmt.Errorf("list Pods of keeper %s/%s: %w", p.namespace, p.name(), err)
	}
	now := r.Clock.Now()
	return slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return keepers.CanRun(&p, now) }), nil
}
