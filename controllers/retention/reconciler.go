// Package retention applies RetentionPolicies to Repositories: it decides which Snapshots stay, deletes the others so
// that a keeper removes their data, and reports this on the Repository and on its BackupSessions.
//
// A Reconciler is safe for concurrent use; one goroutine at a time reconciles a Repository. Invariants: the newest good
// Snapshot stays, a removal rests on reads past the cache (TestAStaleCacheRemovesNothing; of the other Repositories of
// a large batch they can be seconds old: see recentLists), a refused policy removes nothing, a new default removes
// nothing before its notice is over, one that replaces another nothing before it is let in
// (TestAnotherDefaultRemovesNothingByItself), and neither does policy that was just changed. A clock in doubt removes
// nothing (TestAWrongClockRemovesNothing).
package retention

import (
	"cmp"
	"context"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
)

// Reconciler applies the RetentionPolicy of a Repository.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server. The reconciler asks it before it removes anything.
	APIReader client.Reader
	// Clock measures the age of Snapshots.
	Clock clock.PassiveClock
	// ServerTime asks the API server for its time. The reconciler asks before it removes anything.
	ServerTime func(context.Context) (time.Time, error)
	// Stopwatch is the time since the start of the process, whatever its clock does.
	Stopwatch func() time.Duration
	// SettleTime is how long policy must have been unchanged before it lets Snapshots go: see the constant. 0 means no
	// time at all.
	SettleTime time.Duration
	// FieldManager owns all writes.
	FieldManager string
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators

	steadiness retention.Steadiness
	recent     recentLists
}

const (
	// conflictInterval is the delay before a decision about a stale state is made again.
	conflictInterval = time.Second
	// atOnce limits the number of Snapshots that one pass removes.
	atOnce = 200
	// clockInterval is the delay before a clock in doubt is looked at again.
	clockInterval = 5 * time.Minute
	// siblingInterval is the delay before the Repositories of the same restore points are looked at again.
	siblingInterval = 10 * time.Minute
	// partInterval is the delay before a PolicySync that has applied a part of a revision is looked at again.
	partInterval = time.Minute
	// causeWindow is how long before a policy came into force a change can have caused that: the deletion of what named
	// another one can take its time.
	causeWindow = 24 * time.Hour
	// apartInterval is the delay before PolicySyncs that have applied different revisions are looked at again: one can
	// be suspended for days, and a look at each of thousands of Repositories reads their policy past the cache.
	apartInterval = 30 * time.Minute
)

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.RepositoryKind,
	}
}

// Reconcile brings one Repository's Snapshots in line with its policy.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	repository := &v1alpha1.Repository{}
	if err := r.Get(ctx, req.NamespacedName, repository); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, repository) {
		return ctrl.Result{}, nil
	}
	if !repository.DeletionTimestamp.IsZero() {
		logs.BeingDeleted(ctx)
		return ctrl.Result{}, nil
	}
	result, err := r.reconcile(ctx, repository)
	if apierrors.IsConflict(err) {
		logs.DecidesAgain(ctx, err)
		return ctrl.Result{RequeueAfter: conflictInterval}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, repository *v1alpha1.Repository) (ctrl.Result, error) {
	before := repository.DeepCopy()
	state, err := r.observe(ctx, repository)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.introduce(ctx, state); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.noteChange(ctx, state); err != nil {
		return ctrl.Result{}, err
	}
	var result ctrl.Result
	if state.refusal == nil && state.replaced == nil && !repository.Spec.Paused {
		if err := r.takeBack(ctx, state); err != nil {
			return ctrl.Result{}, err
		}
		if result, err = r.enforce(ctx, state); err != nil {
			return ctrl.Result{}, err
		}
	}
	if state.changing != nil { // also if nothing goes: what changes later must not count for this
		result.RequeueAfter = run.EarlierOf(result.RequeueAfter, state.changing.again)
	}
	r.summarize(repository, state)
	if err := r.write(ctx, before, repository); err != nil {
		return ctrl.Result{}, err
	}
	return result, r.writeSessions(ctx, repository, state)
}

// enforce removes the Snapshots that the policy lets go, and returns when to look again. Without a policy all stay.
func (r *Reconciler) enforce(ctx context.Context, s *state) (ctrl.Result, error) {
	if s.ref == nil {
		return ctrl.Result{}, nil
	}
	switch {
	case s.moved:
		result := status.RequeueAt(s.heldUntil, r.Clock.Now())
		if s.heldBy != "" { // a check of a sibling does not change this Repository
			result.RequeueAfter = run.EarlierOf(result.RequeueAfter, siblingInterval)
		}
		return result, nil
	case s.doubt != "":
		return ctrl.Result{RequeueAfter: clockInterval}, nil
	case s.held:
		return status.RequeueAt(s.repository.Status.DefaultRetention.RemovesAfter.Time, r.Clock.Now()), nil
	}
	if err := s.judge(); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.apply(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	result := status.RequeueAt(retention.Next(s.verdicts), r.Clock.Now())
	switch {
	case s.doubt != "":
		result.RequeueAfter = clockInterval
	case s.unsettled != nil:
		result.RequeueAfter = s.unsettled.again
	case s.more:
		result.RequeueAfter = conflictInterval
	}
	return result, nil
}

// whyHeld says why nothing is removed from a Repository that is held because one has moved, or is not in its own
// directory, and until when.
func whyHeld(s *state) trouble {
	if s.heldLost {
		name := cmp.Or(s.heldBy, s.repository.Name)
		return trouble{v1alpha1.ReasonDirectoryTaken, "nothing is removed while the directory of Repository " + name +
			" belongs to another one: once Cairn has seen which, the condition Ready of Repository " + name +
			" says how to take it back"}
	}
	whose, end := "", ", or until eight days after one was tried"
	if s.heldBy != "" {
		whose = " of Repository " + s.heldBy + ", which has Snapshots of the same restore points"
	}
	if !s.heldUntil.IsZero() {
		end = ", but at most until " + s.heldUntil.UTC().Format(time.RFC3339)
	} else if s.heldPaused {
		end += ": none runs while Repository " + cmp.Or(s.heldBy, s.repository.Name) + " is paused"
	}
	return trouble{v1alpha1.ReasonNotChecked, "nothing is removed until a check has looked at each Snapshot from " +
		"before status.movedTime" + whose + end}
}

// summarize writes to the status which policy is in force and how far it was applied.
func (r *Reconciler) summarize(repository *v1alpha1.Repository, s *state) {
	repository.Status.RetentionPolicy, repository.Status.RetentionChangedTime = s.ref, s.changedAt
	const condition = v1alpha1.ConditionRetentionApplied
	switch {
	case s.moved && s.ref != nil:
		why := whyHeld(s)
		conditions.MarkFalse(repository, condition, why.reason, "%s", why.message)
	case s.refusal != nil:
		conditions.MarkFalse(repository, condition, s.refusal.reason, "%s", s.refusal.message)
	case repository.Spec.Paused:
		conditions.MarkUnknown(repository, condition, v1alpha1.ReasonPaused,
			"the Repository is paused: nothing is removed")
	case s.replaced != nil:
		conditions.MarkFalse(repository, condition, v1alpha1.ReasonDefaultReplaced, "%s",
			replacedMessage(*s.replaced, *s.ref))
	case s.doubt != "":
		conditions.MarkFalse(repository, condition, v1alpha1.ReasonClockSkew, "nothing is removed: %s", s.doubt)
	case s.failure != nil:
		conditions.MarkFalse(repository, condition, s.failure.reason, "%s", s.failure.message)
	case s.unsettled != nil:
		conditions.MarkFalse(repository, condition, v1alpha1.ReasonRemovalHeld, "%s", s.unsettled.message)
	case s.removing > 0:
		conditions.MarkFalse(repository, condition, v1alpha1.ReasonRemovalPending, "Snapshots are being removed")
	case s.held:
		conditions.MarkFalse(repository, condition, v1alpha1.ReasonRemovalHeld, "%s", heldMessage(*s.ref))
	case s.unused:
		conditions.MarkTrue(repository, condition, v1alpha1.ReasonKeepsEverything,
			"no policy uses the Repository: everything is kept until you delete it")
	case s.ref == nil:
		conditions.MarkTrue(repository, condition, v1alpha1.ReasonKeepsEverything,
			"no RetentionPolicy is named, and there is no default: everything is kept")
	default:
		conditions.MarkTrue(repository, condition, v1alpha1.ReasonApplied,
			"the data of every Snapshot that RetentionPolicy %s lets go is removed", refName(*s.ref))
	}
}

// write writes the status if it changed, and logs how far the policy was applied.
func (r *Reconciler) write(ctx context.Context, before, after *v1alpha1.Repository) error {
	const condition = v1alpha1.ConditionRetentionApplied
	was, is := conditions.Get(before, condition), conditions.Get(after, condition)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		logApplied(ctx, was, is)
		return nil
	}
	if err := r.writer().Status(ctx, before, after); err != nil {
		return err
	}
	logApplied(ctx, was, is)
	r.announce(before, after)
	if was != nil && was.Reason == v1alpha1.ReasonNotChecked && is.Reason != was.Reason &&
		is.Reason != v1alpha1.ReasonClockSkew && is.Reason != v1alpha1.ReasonDirectoryTaken && retention.Moved(after) {
		r.Event(after, "Warning", v1alpha1.ReasonNotChecked, "removals no longer wait for a check that has looked at "+
			"each Snapshot from before status.movedTime: the condition Checked says why there is none")
	}
	if failed(is) && (was == nil || was.Reason != is.Reason) {
		r.Event(after, "Warning", is.Reason, is.Message)
	}
	return nil
}

// failed reports whether a policy can't be applied; one that waits for a removal has not failed.
func failed(applied *metav1.Condition) bool {
	return applied != nil && applied.Status == metav1.ConditionFalse && !retention.Waits(applied.Reason)
}

// logApplied logs how far the policy was applied. A failure and a wait for a restore, and the end of both, are at the
// level of information, all else at V(1).
func logApplied(ctx context.Context, was, is *metav1.Condition) {
	log := logf.FromContext(ctx).WithValues("retentionApplied", is.Status, "reason", is.Reason, "message", is.Message)
	changed := was == nil || was.Status != is.Status || was.Reason != is.Reason || was.Message != is.Message
	inUse := func(c *metav1.Condition) bool { return c != nil && c.Reason == v1alpha1.ReasonInUse }
	switch {
	case changed && (failed(was) || failed(is) || inUse(was) != inUse(is)):
		log.Info("retention changed")
	case retention.Waits(is.Reason), !changed && failed(is):
		log.V(1).Info("waits")
	case changed:
		log.V(1).Info("retention changed")
	default:
		log.V(1).Info("nothing to do: the retention has not changed")
	}
}

func refName(ref v1alpha1.ObjectReference) string { return ref.Namespace + "/" + ref.Name }
