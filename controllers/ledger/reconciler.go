package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/controller"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
)

const (
	// maxRecords is the number of files after which a commit takes no further parcel, maxBytes their size. One parcel
	// can have more. Then no other Ledger pushes as much at the same time, because of the memory that it takes.
	maxRecords = 2000
	maxBytes   = 8 << 20
	// overtakenRetry is the delay after which a reconcile starts anew. The cache needs a moment to see the change.
	overtakenRetry = time.Second
	// maxAttempts limits the pushes of one attempt while other writers move the branch.
	maxAttempts = 3
	// firstBackoff and maxBackoff limit the pause after a failure. The pause doubles with each failure.
	firstBackoff = 10 * time.Second
	maxBackoff   = 10 * time.Minute
)

// Reconciler pushes the outbox of a Ledger to its branch.
type Reconciler struct {
	client.Client
	// APIReader is not cached.
	APIReader     client.Reader
	EventRecorder record.EventRecorder
	Clock         clock.PassiveClock
	// Metrics measures all controllers, LedgerMetrics this one.
	Metrics       controller.Metrics
	LedgerMetrics *Metrics
	// Outbox is shared with the Collector.
	Outbox *Outbox
	// Administrators are the namespaces whose Ledgers record others without their consent, and have no limit.
	Administrators policy.Administrators
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID   string
	FieldManager string
	// DataDir holds one directory for each Ledger. All of it is allowed to get lost.
	DataDir string
	// Egress decides to which servers Ledgers can connect. Nil has the built-in rules.
	Egress *egress.Policy
	// Jitter varies a pause a little, so that many Ledgers do not push at the same time. If it is nil, pauses do not
	// vary.
	Jitter func(time.Duration) time.Duration

	// Workers is how many Ledgers are reconciled at a time. Those of a namespace push at most half of that many at a
	// time. 0 means no limit.
	Workers int

	memories memories
	limiter  limiter
	turns    turns
	// large is held during a push of more than maxBytes.
	large sync.Mutex
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.LedgerKind}
}

// Reconcile brings the branch of one Ledger up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, retErr error) {
	start := r.Clock.Now()
	l := &v1alpha1.Ledger{}
	if err := r.Get(ctx, req.NamespacedName, l); err != nil {
		if apierrors.IsNotFound(err) {
			r.memories.forget(req.NamespacedName)
			r.LedgerMetrics.forget(req.Namespace, req.Name)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, l) {
		return ctrl.Result{}, nil
	}
	patcher := r.writer().NewPatcher(l).Exclusive()
	old := conditions.Get(l, meta.ReadyCondition).DeepCopy()
	defer func() {
		r.Metrics.RecordDuration(ctx, l, start)
		if !l.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(l, v1alpha1.FinalizerFlush) {
			return
		}
		if err := r.patch(ctx, patcher, l); err != nil && retErr == nil {
			result, retErr = ctrl.Result{}, err
		}
		if apierrors.IsConflict(retErr) {
			// Somebody has written to the Ledger, for example the process that got the lease: what this one found out
			// is outdated. What it pushed is in the branch, where the next reconcile finds it.
			logf.FromContext(ctx).V(1).Info("waits to start anew, because the Ledger has changed meanwhile")
			result, retErr = ctrl.Result{RequeueAfter: overtakenRetry}, nil
			return
		}
		r.announce(l, old)
	}()
	if !l.DeletionTimestamp.IsZero() {
		return r.reconcileDelete(ctx, patcher, l)
	}
	if controllerutil.AddFinalizer(l, v1alpha1.FinalizerFlush) {
		if err := patcher.Patch(ctx, l); err != nil {
			return ctrl.Result{}, fmt.Errorf("add finalizer: %w", err)
		}
	}
	result, retErr = r.reconcile(ctx, patcher, l)
	if outboxNotWritten(l) && retErr == nil && (result.RequeueAfter == 0 || result.RequeueAfter > unwrittenLook) {
		result.RequeueAfter = unwrittenLook
	}
	return result, retErr
}

// reconcile checks whether a push is needed and due, and pushes.
func (r *Reconciler) reconcile(ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger) (ctrl.Result, error) {
	parcels, err := r.parcels(ctx, l)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.count(l, parcels)
	if err := r.sayConsent(ctx, l); err != nil {
		return ctrl.Result{}, err
	}
	written := r.sayUnwritten(l)
	if l.Spec.Suspend {
		l.Status.PushingTo = ""
		if written {
			markReady(l)
		}
		logf.FromContext(ctx).V(1).Info("nothing to do: the Ledger is suspended", "records", l.Status.Pending)
		return ctrl.Result{}, nil
	}
	s := r.memories.of(l)
	requested, asked := meta.ReconcileAnnotationValue(l.Annotations)
	forced := l.Generation != l.Status.ObservedGeneration || asked && requested != l.Status.LastHandledReconcileAt
	if asked {
		l.Status.LastHandledReconcileAt = requested
	}
	where, err := r.check(ctx, l)
	if err != nil {
		return r.failed(ctx, l, s, err)
	}
	forced = forced || refused(l) || written // forced also after a refusal that no longer applies
	if wait, why := r.pause(l, s, len(parcels) > 0, forced); wait > 0 {
		logPause(ctx, l, why, wait)
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return r.attempt(ctx, patcher, l, s, where, parcels)
}

// refused reports whether the last check refused the Ledger.
func refused(l *v1alpha1.Ledger) bool {
	switch conditions.GetReason(l, meta.ReadyCondition) {
	case v1alpha1.ReasonWatchedBranch, v1alpha1.ReasonInvalidURL, v1alpha1.ReasonValidationFailed,
		v1alpha1.ReasonTooManyLedgers:
		return true
	default:
		return false
	}
}

// pauseReason says why a Ledger does not push now.
type pauseReason string

const (
	afterFailure pauseReason = "the last try failed"
	collecting   pauseReason = "spec.batchWindow collects records"
	rendering    pauseReason = "policy has changed, and spec.batchWindow collects changes"
	limited      pauseReason = "a push takes a limited number of records"
	crowded      pauseReason = "other Ledgers of its namespace push"
	anotherLarge pauseReason = "another Ledger has a large push"
	idle         pauseReason = "no record waits, and the branch was checked"
)

// logPause logs at V(1) why a Ledger does not push now, and after which time it looks again.
func logPause(ctx context.Context, l *v1alpha1.Ledger, why pauseReason, wait time.Duration) {
	log := logf.FromContext(ctx).WithValues("records", l.Status.Pending, "after", wait.String())
	if why == idle {
		log.V(1).Info("nothing to do: " + string(why))
		return
	}
	log.V(1).Info("waits before the next push", "why", why)
}

// pause returns how long the Ledger has nothing to do, or is not allowed to push, and why.
func (r *Reconciler) pause(l *v1alpha1.Ledger, s *memory, pending, forced bool) (wait time.Duration, why pauseReason) {
	now := r.Clock.Now()
	if forced {
		return 0, ""
	}
	if wait := s.notBefore.Sub(now); wait > 0 {
		return wait, afterFailure
	}
	if s.checked.IsZero() || s.failures > 0 {
		return 0, ""
	}
	if !pending {
		look := s.checked.Add(l.Spec.Interval.Duration)
		if since := r.memories.outdatedSince(client.ObjectKeyFromObject(l)); !since.IsZero() {
			// The window collects changes of policy, too, and gives the status of the changed objects time to follow.
			if due := since.Add(max(l.Spec.BatchWindow.Duration, pushInterval)); due.Before(look) {
				return due.Sub(now), rendering
			}
		}
		return look.Sub(now), idle
	}
	t, window := l.Status.LastPushedTime, l.Spec.BatchWindow.Duration
	if t != nil && window > pushInterval && !s.more {
		if wait := run.Left(t.Add(window), window, now); wait > 0 {
			return wait, collecting
		}
	}
	return 0, ""
}

// attempt pushes once and writes the result to the Ledger.
func (r *Reconciler) attempt(
	ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger, s *memory, where string, parcels []parcel,
) (ctrl.Result, error) {
	var last time.Time
	if t := l.Status.LastPushedTime; t != nil {
		last = t.Time
	}
	done, ok := r.turn(l, s)
	if !ok {
		logPause(ctx, l, crowded, turnRetry)
		return ctrl.Result{RequeueAfter: turnRetry}, nil
	}
	defer done()
	if wait := r.limiter.reserve(where, r.Clock.Now(), last); wait > 0 {
		logf.FromContext(ctx).V(1).Info("waits, because pushes to the repository are limited", "after", wait.String())
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	rest, err := r.push(ctx, patcher, l, s, where, parcels)
	if errors.Is(err, errTurn) {
		logPause(ctx, l, anotherLarge, pushInterval)
		return ctrl.Result{RequeueAfter: pushInterval}, nil
	}
	if err != nil {
		return r.failed(ctx, l, s, err)
	}
	s.failures, s.notBefore, s.checked = 0, time.Time{}, r.Clock.Now()
	r.count(l, rest)
	l.Status.ObservedGeneration = l.Generation
	r.markPushed(l, s)
	if len(rest) > len(s.unreadable) {
		wait := max(pushInterval, l.Spec.BatchWindow.Duration)
		if s.more {
			wait = pushInterval
		}
		logPause(ctx, l, limited, wait)
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return ctrl.Result{RequeueAfter: r.jittered(l.Spec.Interval.Duration)}, nil
}

// check returns an error if the Ledger can't work whatever the server answers, and otherwise the repository that it
// pushes to.
func (r *Reconciler) check(ctx context.Context, l *v1alpha1.Ledger) (where string, err error) {
	if _, err := gitstore.ParseURL(l.Spec.URL); err != nil {
		return "", err
	}
	if where, err = gitstore.NormalizeURL(l.Spec.URL); err != nil {
		return "", err
	}
	if _, err := newMatcher(l, r.Administrators); err != nil {
		return "", stalled(v1alpha1.ReasonValidationFailed, err.Error())
	}
	if err := r.checkNumber(ctx, l); err != nil {
		return "", err
	}
	return where, r.checkBranch(ctx, l)
}

// failed marks the Ledger as failed and returns when to try again.
func (r *Reconciler) failed(ctx context.Context, l *v1alpha1.Ledger, s *memory, err error) (ctrl.Result, error) {
	if ctx.Err() != nil {
		return ctrl.Result{}, err // the manager stops
	}
	if apierrors.ReasonForError(err) != metav1.StatusReasonUnknown && !apierrors.IsForbidden(err) {
		return ctrl.Result{}, err // an error of the API server, not of the branch
	}
	f := explain(err)
	markFault(l, f)
	l.Status.PushingTo = "" // what can have arrived all the same was written before any PolicySync follows the branch
	l.Status.ObservedGeneration = l.Generation
	wait := l.Spec.Interval.Duration
	if !f.stalled {
		wait = r.backoff(s, f)
	}
	wait = r.jittered(wait)
	logFailed(ctx, l, f, wait)
	s.failures++
	s.notBefore = r.Clock.Now().Add(wait)
	return ctrl.Result{RequeueAfter: wait}, nil
}

// logFailed logs at V(1) what a Ledger does next after a fault. If only a person can mend the fault, it looks for a
// change. It does so often while it is being deleted.
func logFailed(ctx context.Context, l *v1alpha1.Ledger, f *fault, wait time.Duration) {
	stalled := f.stalled || f.reason == v1alpha1.ReasonSuspended
	if stalled && !l.DeletionTimestamp.IsZero() {
		wait = min(wait, flushRetry)
	}
	logs.AfterFault(ctx, f.reason, stalled, wait)
}

// backoff returns a pause that doubles with each failure in a row, unless the server asked for a longer one.
func (r *Reconciler) backoff(s *memory, f *fault) time.Duration {
	wait := maxBackoff
	if s.shrunk && errors.Is(f, gitstore.ErrPushTooLarge) {
		wait = firstBackoff // the next push is another one
	} else if s.failures < 6 {
		wait = firstBackoff << s.failures
	}
	var remote *gitstore.RemoteError
	if errors.As(f, &remote) && remote.RetryAfter > wait {
		wait = min(remote.RetryAfter, time.Hour)
	}
	return wait
}

func (r *Reconciler) jittered(d time.Duration) time.Duration {
	if r.Jitter == nil {
		return d
	}
	return r.Jitter(d)
}

// incompleteFor is how long the Collector has to write the rest of a parcel.
const incompleteFor = time.Hour

// parcels returns what waits in the outbox. It removes parcels whose rest nobody writes any more: the Collector was
// killed, and then made another record of the object, or found it gone.
func (r *Reconciler) parcels(ctx context.Context, l *v1alpha1.Ledger) ([]parcel, error) {
	all, err := r.Outbox.all(ctx, l)
	if err != nil {
		return nil, err
	}
	var complete, abandoned []parcel
	for _, p := range all {
		switch {
		case !p.incomplete:
			complete = append(complete, p)
		case l.DeletionTimestamp != nil || r.Clock.Now().Sub(p.meta.CreationTimestamp.Time) > incompleteFor:
			abandoned = append(abandoned, p)
		}
	}
	if len(abandoned) > 0 {
		logf.FromContext(ctx).Info("removed incomplete ConfigMaps of the outbox", "count", size(abandoned))
	}
	return complete, r.Outbox.remove(ctx, abandoned)
}

func (r *Reconciler) patch(ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger) error {
	err := patcher.Patch(ctx, l, ownedConditions...)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

// announce emits an event when the status or the reason of the Ready condition changes.
func (r *Reconciler) announce(l *v1alpha1.Ledger, old *metav1.Condition) {
	ready := conditions.Get(l, meta.ReadyCondition)
	if ready == nil || old != nil && old.Status == ready.Status && old.Reason == ready.Reason {
		return
	}
	sort := corev1.EventTypeNormal
	if ready.Status != metav1.ConditionTrue {
		sort = corev1.EventTypeWarning
	}
	r.EventRecorder.Event(l, sort, ready.Reason, ready.Message)
}
