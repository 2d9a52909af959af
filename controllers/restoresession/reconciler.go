// Package restoresession carries a RestoreSession from its creation to its one terminal phase. What to do next is decided
// by internal/session; this package reads, asks, and carries out, in an order in which every step can be repeated.
package restoresession

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/runtime/controller"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/movers"
)

// again is how soon a write is tried again that somebody else was faster with.
const again = time.Second

// Reconciler reconciles RestoreSessions. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	controller.Metrics
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// Clock that deadlines are measured with.
	Clock clock.PassiveClock
	// MoverImage is what ${moverImage} of a Function stands for.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// FieldManager of all writes.
	FieldManager string
}

// Reconcile takes a RestoreSession as many steps further as can be taken now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	began := r.Clock.Now()
	s := &v1alpha1.RestoreSession{}
	if err := r.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(s.Annotations) {
		return ctrl.Result{}, nil
	}
	defer func() {
		r.RecordDuration(ctx, s, began)
		r.RecordReadiness(ctx, s)
	}()
	after, err := r.reconcile(ctx, s)
	if apierrors.IsConflict(err) {
		// What was decided upon is not the newest state, so it was not written.
		return ctrl.Result{RequeueAfter: again}, nil
	}
	return ctrl.Result{RequeueAfter: after}, err
}

func (r *Reconciler) reconcile(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	if s.Status.Phase.Terminal() {
		return 0, r.release(ctx, s)
	}
	if s.Status.Resolved == nil {
		after, err := r.start(ctx, s)
		if err != nil || s.Status.Resolved == nil {
			return after, err
		}
	}
	return r.run(ctx, s)
}

// start waits, ends or freezes a restore that is not frozen.
func (r *Reconciler) start(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	in := session.RestoreInput{Now: r.Clock.Now(), Session: s, Start: &session.RestoreStart{}}
	if s.DeletionTimestamp == nil {
		if err := r.adopt(ctx, s); err != nil {
			return 0, err
		}
		start, err := r.lookUp(ctx, s)
		if err != nil {
			return 0, err
		}
		in.Start = start
	}
	d := session.NextRestore(in)
	if err := r.writeStatus(ctx, s, d); err != nil {
		return 0, err
	}
	if s.Status.Phase.Terminal() {
		return 0, r.release(ctx, s)
	}
	return d.After, nil
}

// run takes a frozen restore further: first with what the caches know, and past them where the mover is given up.
func (r *Reconciler) run(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	in, err := r.observe(ctx, r.Client, s)
	if err != nil {
		return 0, err
	}
	d := session.NextRestore(in)
	if d.Verify {
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(s), s); err != nil {
			return 0, client.IgnoreNotFound(err)
		}
		if in, err = r.observe(ctx, r.APIReader, s); err != nil {
			return 0, err
		}
		d = session.NextRestore(in)
	}
	if d, err = r.carryOut(ctx, s, in, d); err != nil {
		return 0, err
	}
	if err := r.writeStatus(ctx, s, d); err != nil {
		return 0, err
	}
	if s.Status.Phase.Terminal() {
		return 0, r.release(ctx, s)
	}
	return d.After, nil
}

// observe reads everything that the next step depends on.
func (r *Reconciler) observe(ctx context.Context, reader client.Reader, s *v1alpha1.RestoreSession) (session.RestoreInput, error) {
	in := session.RestoreInput{Now: r.Clock.Now(), Session: s}
	jobs, pods, err := movers.Observe(ctx, reader, s, v1alpha1.LabelRestoreSession, in.Now)
	if err != nil {
		return in, err
	}
	if job, ok := jobs[jobName(s)]; ok {
		in.Job = &job
	}
	in.Pods = pods
	return in, nil
}

// carryOut does what was decided, up to the status. A Job that is refused changes the decision.
func (r *Reconciler) carryOut(ctx context.Context, s *v1alpha1.RestoreSession, in session.RestoreInput, d session.RestoreDecision) (session.RestoreDecision, error) {
	if err := r.writeMovers(ctx, s, d); err != nil {
		return d, err
	}
	if d.Delete {
		if err := movers.Delete(ctx, r.Client, s.Namespace, jobName(s)); err != nil {
			return d, err
		}
	}
	if d.Create {
		var job *batchv1.Job
		job, err := r.job(ctx, s)
		refusal, refused := refusalOf(err)
		switch {
		case refused:
			in.Refused = refusal
			d = session.NextRestore(in)
			return d, r.writeMovers(ctx, s, d)
		case err != nil:
			return d, err
		}
		if err := r.create(ctx, s, job); err != nil {
			return d, err
		}
	}
	if d.Stamp {
		return d, r.stamp(ctx, s)
	}
	return d, nil
}
