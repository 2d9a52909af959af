// Package backupsession carries a BackupSession from its creation to its one terminal phase. What to do next is decided by
// internal/session; this package reads, asks, and carries out, in an order in which every step can be repeated.
package backupsession

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/runtime/controller"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
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

// Reconciler reconciles BackupSessions. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	controller.Metrics
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// Scheme of the client.
	Scheme *runtime.Scheme
	// Clock that deadlines are measured with.
	Clock clock.PassiveClock
	// MoverImage is what ${moverImage} of a Function stands for.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// FieldManager of all writes.
	FieldManager string
}

// Reconcile takes a BackupSession as many steps further as can be taken now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	began := r.Clock.Now()
	s := &v1alpha1.BackupSession{}
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

func (r *Reconciler) reconcile(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
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

// start waits, ends or freezes a session that is not frozen.
func (r *Reconciler) start(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
	in := session.Input{Now: r.Clock.Now(), Session: s, Start: &session.Start{}}
	if s.DeletionTimestamp == nil {
		start, invoker, err := r.lookUp(ctx, s)
		if err != nil {
			return 0, err
		}
		if err := r.adopt(ctx, s, invoker); err != nil {
			return 0, err
		}
		in.Start = start
	}
	d := session.Next(in)
	if err := r.writeStatus(ctx, s, d); err != nil {
		return 0, err
	}
	if s.Status.Phase.Terminal() {
		return 0, r.release(ctx, s)
	}
	return d.After, nil
}

// run takes a frozen session further: first with what the caches know, and past them where a mover is given up.
func (r *Reconciler) run(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
	in, err := r.observe(ctx, r.Client, s)
	if err != nil {
		return 0, err
	}
	d := session.Next(in)
	if d.Verify {
		if in, err = r.observe(ctx, r.APIReader, s); err != nil {
			return 0, err
		}
		d = session.Next(in)
	}
	for {
		if err := r.writeSnapshots(ctx, in, d); err != nil {
			return 0, err
		}
		refused, err := r.writeJobs(ctx, s, &in, d)
		if err != nil {
			return 0, err
		}
		if !refused {
			break
		}
		d = session.Next(in)
	}
	if err := r.writeStatus(ctx, s, d); err != nil {
		return 0, err
	}
	if s.Status.Phase.Terminal() {
		return 0, r.release(ctx, s)
	}
	return d.After, nil
}

// observe reads everything that the next step depends on. It makes the Snapshots that are missing.
func (r *Reconciler) observe(ctx context.Context, reader client.Reader, s *v1alpha1.BackupSession) (session.Input, error) {
	in := session.Input{Now: r.Clock.Now(), Session: s}
	var err error
	if in.Snapshots, in.Refused, err = r.snapshots(ctx, reader, s); err != nil {
		return in, err
	}
	in.Jobs, in.Pods, err = movers.Observe(ctx, reader, s, v1alpha1.LabelBackupSession, in.Now)
	return in, err
}

// emit says what happened to everybody who watches events.
func (r *Reconciler) emit(s *v1alpha1.BackupSession, e *session.Event) {
	if e != nil {
		r.Event(s, e.Type, e.Reason, e.Message)
	}
}
