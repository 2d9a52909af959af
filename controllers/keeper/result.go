package keeper

import (
	"context"
	"fmt"
	"slices"

	"github.com/fluxcd/pkg/runtime/conditions"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// writeResult writes the result of an ended Job with this task. It can be repeated after an interruption.
func (r *Reconciler) writeResult(
	ctx context.Context, p place, job *batchv1.Job, t *task.Task, o observe.Observation,
) error {
	at := keeper.EndOf(job, metav1.NewTime(r.Clock.Now()))
	ended := map[string]keeper.Ended{}
	for i := range t.Keep {
		k := &t.Keep[i]
		result := keeper.ResultOf(o, i)
		w, err := r.workOf(ctx, p, k)
		if err != nil {
			return err
		}
		w.Began, w.OnlyCheck, w.OOMKilled = job.CreationTimestamp, keeper.OnlyCheck(t), o.OOMKilled
		scanned, err := r.writeScan(ctx, job, w, result)
		if err != nil {
			return err
		}
		e := w.Ended(result)
		e.Failed = e.Failed || !scanned
		done, undone := w.Split(result)
		tried := w.TriedCheck(result)
		if w.Repository != nil && w.Repository.Status.InitializedSpec != placeOfWork(t, k) {
			// It has moved meanwhile, and nothing was checked in its new place.
			e, tried = keeper.Ended{Failed: true}, false
			done.Maintain, done.Checks, done.Check = "", false, nil
			undone = slices.DeleteFunc(undone, func(f keeper.Undone) bool { return f.Maintain != "" || f.Checks })
		}
		for _, f := range undone {
			if err := r.writeUndone(ctx, p, t, f, at); err != nil {
				return err
			}
		}
		if err := r.succeed(ctx, done, result, at); err != nil {
			return err
		}
		unsettled, err := r.settle(ctx, w, tried, done.Checks, at)
		if err != nil {
			return err
		}
		e.Failed = e.Failed || unsettled // The next check comes as after a failure, not at once.
		ended[k.Repository.Name] = e
	}
	return r.remember(ctx, p, string(job.UID), at, ended)
}

// writeUndone reports work that a keeper could not do.
func (r *Reconciler) writeUndone(ctx context.Context, p place, t *task.Task, f keeper.Undone, at metav1.Time) error {
	message, err := r.explained(ctx, p, t, f)
	if err != nil {
		return err
	}
	if err := r.fail(ctx, f.Work, f.Reason, message); err != nil {
		return err
	}
	return r.markSlow(ctx, f, at)
}

// settle notes that a check was tried, and reports whether one that was done leaves the Repository unsettled.
func (r *Reconciler) settle(
	ctx context.Context, w *keeper.Work, tried, checked bool, at metav1.Time,
) (unsettled bool, err error) {
	if w.Repository == nil {
		return false, nil
	}
	err = r.writeRepository(ctx, w.Repository, func(repository *v1alpha1.Repository) {
		if tried {
			retention.TriedCheck(repository, at)
		}
		if unsettled = checked && retention.Unsettled(repository, at.Time); unsettled {
			markUnsettled(repository)
		} else if checked && w.Maintain == "" && v1alpha1.Damaged(repository.Status.Integrity) {
			unsettled = true
			conditions.MarkFalse(repository, v1alpha1.ConditionMaintained, v1alpha1.ReasonRepositoryDamaged,
				"each Snapshot was damaged: nothing is collected before a check finds one intact, or another backup "+
					"succeeds")
		}
	})
	return unsettled, err
}

// placeOfWork returns the digest of the place in which a keeper has worked.
func placeOfWork(t *task.Task, k *task.Keep) string {
	return policy.RepositoryPlace(t.Storage.Namespace, t.Storage.Spec, k.Repository.Directory)
}

// logEnds logs how the work of a Job in each Repository ended, once the results are written and the Job is deleted. A
// manager that is killed right after that logs nothing. A Job that hangs has ended, too: it is given up.
func logEnds(ctx context.Context, p place, job *batchv1.Job, t *task.Task, o observe.Observation) {
	for i := range t.Keep {
		logEnd(ctx, p, job, &t.Keep[i], keeper.ResultOf(o, i))
	}
}

func logEnd(ctx context.Context, p place, job *batchv1.Job, k *task.Keep, result task.ComponentResult) {
	log := logf.FromContext(ctx).WithValues("job", klog.KObj(job), "outcome", result.Outcome,
		"repository", klog.KRef(p.namespace, k.Repository.Name), "wipe", k.Wipe, "toRemove", len(k.Remove),
		"maintenance", k.Maintain)
	if k.Scan != "" {
		log = log.WithValues("scan", k.Scan)
	}
	if result.Outcome != task.OutcomeSucceeded {
		log = log.WithValues("reason", result.Reason, "message", result.Error)
	}
	log.Info("keeper ended")
}

// workOf reads the objects of the work, as far as they still exist. What is not being deleted was not removed.
func (r *Reconciler) workOf(ctx context.Context, p place, k *task.Keep) (*keeper.Work, error) {
	w := &keeper.Work{
		Wipe: k.Wipe, Maintain: k.Maintain, Check: k.Check, Checks: k.Maintain == task.MaintainFull || len(k.Check) > 0,
		Scan: k.Scan,
	}
	var repository v1alpha1.Repository
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: k.Repository.Name}, &repository)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Repository %s: %w", k.Repository.Name, err)
	}
	if err == nil && repository.UID == k.Repository.UID && (!k.Wipe || !repository.DeletionTimestamp.IsZero()) {
		w.Repository = &repository
	}
	for _, s := range k.Remove {
		var snapshot v1alpha1.Snapshot
		err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: s.Name}, &snapshot)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Snapshot %s: %w", s.Name, err)
		}
		if err == nil && snapshot.UID == s.UID && !snapshot.DeletionTimestamp.IsZero() {
			w.Snapshots = append(w.Snapshots, &snapshot)
		}
	}
	return w, nil
}

// succeed writes the success to the Repository, and releases the Snapshots whose data was removed.
func (r *Reconciler) succeed(
	ctx context.Context, w *keeper.Work, result task.ComponentResult, at metav1.Time,
) error {
	if w.Repository != nil {
		whole, unjudged, err := r.checked(ctx, w, result, at)
		if err != nil {
			return err
		}
		met, err := r.metDuring(ctx, w)
		if err != nil {
			return err
		}
		before := w.Repository.DeepCopy()
		err = r.writeRepository(ctx, w.Repository, func(repository *v1alpha1.Repository) {
			if w.Wipe {
				conditions.MarkTrue(repository, v1alpha1.ConditionWiped, v1alpha1.ReasonWiped, "%s",
					"the directory in the backend was removed"+keeper.Left(result))
				return
			}
			w.Maintained(&repository.Status, result.SizeBytes, at)
			if w.Maintain != "" {
				conditions.MarkTrue(repository, v1alpha1.ConditionMaintained, v1alpha1.ReasonMaintained,
					"the last maintenance succeeded")
			}
			if w.Checks {
				w.Checked(&repository.Status, whole)
				markChecked(repository, unjudged, met, at)
			}
		})
		if err != nil {
			return err
		}
		if left := keeper.Left(result); w.Wipe && left != "" && !conditions.IsTrue(before, v1alpha1.ConditionWiped) {
			r.Event(w.Repository, corev1.EventTypeWarning, v1alpha1.ReasonDataKept,
				conditions.GetMessage(w.Repository, v1alpha1.ConditionWiped))
		}
	}
	for _, s := range w.Snapshots {
		if err := r.release(ctx, s, true, "its data is removed"); err != nil {
			return err
		}
	}
	return nil
}

// markChecked notes that a check which ended at a time could be done. A restore has met damage in met meanwhile, unless
// it is nil.
func markChecked(repository *v1alpha1.Repository, unjudged bool, met *v1alpha1.Snapshot, at metav1.Time) {
	if _, held := retention.Held(repository, at.Time); unjudged && held {
		conditions.MarkUnknown(repository, v1alpha1.ConditionChecked, v1alpha1.ReasonNotChecked,
			"the last check has not looked at each Snapshot from before status.movedTime")
		return
	}
	if !v1alpha1.Damaged(repository.Status.Integrity) || !retention.Damaging(repository, at.Time) {
		retention.ForgetMove(repository)
	}
	if met != nil {
		markMet(repository, met)
		return
	}
	unseen := ""
	if conditions.GetReason(repository, v1alpha1.ConditionChecked) == v1alpha1.ReasonRepositoryDamaged {
		unseen = ". A check reads no files back, so it need not see the damage that a restore or another check has met"
	}
	conditions.MarkTrue(repository, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked,
		"the last check could be done: status.integrity has its result%s", unseen)
}

// markUnsettled notes that nothing is maintained because a check has found damage in a repository that has come back.
func markUnsettled(repository *v1alpha1.Repository) {
	if v1alpha1.Damaged(repository.Status.Integrity) {
		conditions.MarkFalse(repository, v1alpha1.ConditionMaintained, v1alpha1.ReasonRepositoryDamaged,
			"Snapshots are damaged, and the repository came back, took its directory back or moved, so a part of it "+
				"can be missing: nothing is maintained until a check finds them intact, or until they are removed, "+
				"for at most four weeks after status.movedTime")
	}
}

// release writes why the Snapshot goes, unless a reason is set, and whether its data is gone. Then it removes
// FinalizerWipe. FinalizerRecord holds the Snapshot until it is recorded.
func (r *Reconciler) release(ctx context.Context, s *v1alpha1.Snapshot, gone bool, why string) error {
	before := s.DeepCopy()
	deleted, wiped := retention.MarkDeleted(s), retention.MarkWiped(s, gone, why)
	if deleted || wiped {
		if err := r.writer().Status(ctx, before, s); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	released, err := r.writer().Release(ctx, s, v1alpha1.FinalizerWipe)
	if released {
		logf.FromContext(ctx).Info("released the Snapshot", "snapshot", klog.KObj(s), "why", why)
	}
	return err
}

// fail writes the failure to the Repository and the Snapshots. The keeper tries again.
func (r *Reconciler) fail(ctx context.Context, w *keeper.Work, reason, message string) error {
	return r.failFor(ctx, w, reason, status.Problem{Text: message})
}

// failFor does what fail does for a problem with words. What says the problem in other words stays for a while: to
// write new ones wakes the keeper.
func (r *Reconciler) failFor(ctx context.Context, w *keeper.Work, reason string, p status.Problem) error {
	message, now := p.Text+p.Words, r.Clock.Now()
	for _, condition := range w.ConditionsOf(reason) {
		if p.Words != "" && status.Says(w.Repository, condition, reason, p, now) {
			continue
		}
		advice := ""
		if w.Wipe {
			advice = retention.HowToGiveUp(w.Repository)
		}
		err := r.writeRepository(ctx, w.Repository, func(repository *v1alpha1.Repository) {
			conditions.MarkFalse(repository, condition, reason, "%s", message+advice)
			switch reason {
			case v1alpha1.ReasonRepositoryDamaged, v1alpha1.ReasonRepositoryNotFound:
				repository.Status.Integrity = new(false)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, s := range w.Snapshots {
		if p.Words != "" && status.Says(s, v1alpha1.ConditionWiped, reason, p, now) {
			continue
		}
		before := s.DeepCopy()
		conditions.MarkFalse(s, v1alpha1.ConditionWiped, reason, "%s", message+retention.HowToGiveUp(s))
		if equality.Semantic.DeepEqual(before, s) {
			continue
		}
		err := r.writer().Status(ctx, before, s)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// writeRepository changes the status of a Repository, and emits an event for a condition that became false.
func (r *Reconciler) writeRepository(
	ctx context.Context, repository *v1alpha1.Repository, change func(*v1alpha1.Repository),
) error {
	before := repository.DeepCopy()
	change(repository)
	if equality.Semantic.DeepEqual(before.Status, repository.Status) {
		return nil
	}
	if err := r.writer().Status(ctx, before, repository); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("write status of Repository %s: %w", repository.Name, err)
	}
	for _, condition := range []string{
		v1alpha1.ConditionMaintained, v1alpha1.ConditionChecked, v1alpha1.ConditionScanned, v1alpha1.ConditionWiped,
	} {
		is, was := conditions.Get(repository, condition), conditions.Get(before, condition)
		if is != nil && is.Status == metav1.ConditionFalse &&
			(was == nil || was.Status != is.Status || was.Reason != is.Reason) {
			r.Event(repository, corev1.EventTypeWarning, is.Reason, is.Message)
		}
	}
	return nil
}
