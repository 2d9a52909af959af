package ledger

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// giveUpAfter is how long a Ledger, or an object without its record, is allowed to block the deletion of its
	// namespace or kind.
	giveUpAfter = 2 * time.Minute
	// flushRetry is the longest pause between two pushes of a Ledger that is being deleted.
	flushRetry = 30 * time.Second
	// leaveWithin limits the last push of a Ledger without records.
	leaveWithin = 15 * time.Second
)

// reconcileDelete pushes the records that wait. It gives them up if that was asked for, or if the namespace or the kind
// is being deleted and the push fails for too long.
func (r *Reconciler) reconcileDelete(
	ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger,
) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(l, v1alpha1.FinalizerFlush) {
		return ctrl.Result{}, nil
	}
	parcels, err := r.parcels(ctx, l)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.count(l, parcels)
	if len(parcels) == 0 {
		return r.leave(ctx, patcher, l)
	}
	// The value names the Ledger: one that was made again from Git or from an export drops nothing.
	if l.Annotations[v1alpha1.AnnotationDropRecords] == string(l.UID) {
		return ctrl.Result{}, r.drop(ctx, l, parcels, "as the annotation "+v1alpha1.AnnotationDropRecords+" asks")
	}
	s := r.memories.of(l)
	why, err := r.overdue(ctx, l, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != "" {
		return ctrl.Result{}, r.drop(ctx, l, parcels, "because "+string(why)+" and the branch can't be reached")
	}
	result, err := r.flush(ctx, patcher, l, s, parcels)
	if err != nil {
		return ctrl.Result{}, err
	}
	left, err := r.Outbox.list(ctx, l)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !slices.ContainsFunc(left, s.waits) {
		return ctrl.Result{}, r.finish(ctx, l)
	}
	result.RequeueAfter = min(result.RequeueAfter, flushRetry)
	return result, nil
}

// leave writes into STATUS.md that nobody keeps it any more, and lets the Ledger go. It tries that once, and only if
// the last push succeeded: no deletion waits for a server that is down. A push of records has written it before.
func (r *Reconciler) leave(
	ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger,
) (ctrl.Result, error) {
	s, now := r.memories.of(l), r.Clock.Now()
	kept, err := r.keptByOther(ctx, l, ledger.Place(l))
	if err != nil {
		return ctrl.Result{}, err
	}
	where, err := r.check(ctx, l)
	if err != nil || kept || l.Spec.Suspend || elsewhere(l) || !conditions.IsReady(l) && !outboxNotWritten(l) ||
		now.Sub(l.DeletionTimestamp.Time) > giveUpAfter {
		return ctrl.Result{}, r.finish(ctx, l)
	}
	done, ok := r.turn(l, s)
	if !ok {
		return ctrl.Result{RequeueAfter: turnRetry}, nil
	}
	defer done()
	if wait := r.limiter.reserve(where, now, time.Time{}); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	short, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	rest, err := r.push(short, patcher, l, s, where, nil)
	switch {
	case err == nil && len(rest) > 0: // a record came before the Ledger began to go
		return ctrl.Result{RequeueAfter: overtakenRetry}, nil
	case ctx.Err() != nil:
		return ctrl.Result{}, ctx.Err() // the manager stops
	case err != nil:
		logf.FromContext(ctx).Info("left STATUS.md as it is", "why", explain(err).message)
	}
	return ctrl.Result{}, r.finish(ctx, l)
}

// waits reports whether a parcel waits to be pushed. One that holds only the rest of a record counts no record, and one
// that does not hold what Cairn wrote is never pushed.
func (s *memory) waits(p parcel) bool {
	return p.records > 0 ||
		!slices.ContainsFunc(s.unreadable, func(q quarantined) bool { return q.name == p.meta.Name })
}

// flush pushes the records that wait, if a push is due.
func (r *Reconciler) flush(
	ctx context.Context, patcher *status.Patcher, l *v1alpha1.Ledger, s *memory, parcels []parcel,
) (ctrl.Result, error) {
	if l.Spec.Suspend {
		return r.failed(ctx, l, s, &fault{
			reason: v1alpha1.ReasonSuspended,
			message: "records wait to be pushed before the Ledger " +
				"goes: set spec.suspend to false, or the annotation " + v1alpha1.AnnotationDropRecords + "=" +
				string(l.UID) + " to give them up",
		})
	}
	if wait := s.notBefore.Sub(r.Clock.Now()); wait > 0 && l.Generation == l.Status.ObservedGeneration {
		logPause(ctx, l, afterFailure, wait)
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	where, err := r.check(ctx, l)
	if err != nil {
		return r.failed(ctx, l, s, err)
	}
	return r.attempt(ctx, patcher, l, s, where, parcels)
}

// overdue returns the deletion that the Ledger has blocked for too long: that of its namespace or kind. It returns ""
// if there is none. A deletion that a clock that was ahead has dated counts from when this process first saw it.
func (r *Reconciler) overdue(ctx context.Context, l *v1alpha1.Ledger, s *memory) (retention.Kept, error) {
	why, at, err := read.TakenAlong(ctx, r.APIReader, l)
	if err != nil || why == "" {
		return "", err
	}
	now := r.Clock.Now()
	if observe.FarAhead(at, now) {
		if s.going.IsZero() {
			s.going = now
		}
		at = s.going
	}
	if now.Sub(at) <= giveUpAfter {
		return "", nil
	}
	return why, nil
}

// drop gives up the records that were not pushed.
func (r *Reconciler) drop(ctx context.Context, l *v1alpha1.Ledger, parcels []parcel, why string) error {
	logf.FromContext(ctx).Info("gave up records", "why", why, "records", l.Status.Pending)
	r.EventRecorder.Eventf(l, corev1.EventTypeWarning, v1alpha1.ReasonRecordDropped, "gave up %s %s",
		text.Quantity(l.Status.Pending, "record"), why)
	if err := r.Outbox.remove(ctx, parcels); err != nil {
		return err
	}
	return r.finish(ctx, l)
}

// finish removes the finalizer of the Ledger.
func (r *Reconciler) finish(ctx context.Context, l *v1alpha1.Ledger) error {
	r.memories.forget(client.ObjectKeyFromObject(l))
	r.LedgerMetrics.forget(l.Namespace, l.Name)
	if err := os.RemoveAll(r.dir(l)); err != nil {
		return fmt.Errorf("remove local store: %w", err)
	}
	// The Ledger that was read at the start is older than our own status patches.
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(l), l); err != nil {
		return client.IgnoreNotFound(err)
	}
	released, err := r.writer().Release(ctx, l, v1alpha1.FinalizerFlush)
	if released {
		logf.FromContext(ctx).Info("released the Ledger")
	}
	return err
}
