// Package backupsession carries a BackupSession from its creation to its one terminal phase. What to do next is decided by
// internal/session; this package reads, asks, and carries out, in an order in which every step can be repeated.
package backupsession

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook/execute"
	"github.com/cairn-backup/cairn/internal/selection"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/session/movers"
)

// Reconciler reconciles BackupSessions. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
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
	// ClusterName begins the directories of repositories that policy names none for.
	ClusterName string
	// FieldManager of all writes.
	FieldManager string
	// Hooks of the sessions.
	Hooks *execute.Hooks

	// starting is held from the look at a run's rivals, and at other runs with hooks, until its start is written, where it
	// must not start beside them.
	starting sync.Mutex

	// selection reads what the selectors of batches find.
	selection selection.Reader
}

// Reconcile takes a BackupSession as many steps further as can be taken now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.BackupSession{}
	return r.keeper().Reconcile(ctx, req, s, func() (time.Duration, error) { return r.reconcile(ctx, s) })
}

func (r *Reconciler) keeper() lifecycle.Keeper {
	return lifecycle.Keeper{
		Client: r.Client, EventRecorder: r.EventRecorder,
		Live: r.APIReader, Owner: client.FieldOwner(r.FieldManager),
	}
}

func (r *Reconciler) reconcile(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
	if s.Status.Phase.Terminal() {
		r.Hooks.Forget(s.UID)
		if err := r.keeper().Release(ctx, s); err != nil {
			return 0, err
		}
		return r.retry(ctx, s)
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
		if start.Rivals.Judged() || start.HasHooks() {
			r.starting.Lock()
			defer r.starting.Unlock()
			if err := r.others(ctx, s, invoker, start); err != nil {
				return 0, err
			}
		}
	}
	before := s.Status
	d := session.Next(in)
	if err := r.replace(ctx, s, in.Start.Rivals.Runs, d.Replace); err != nil {
		return 0, err
	}
	after, err := r.writeStatus(ctx, s, d)
	if refusal := movers.RefusalOf(movers.Rejected(err)); refusal != nil {
		s.Status, in.Start = before, &session.Start{Refused: refusal}
		return r.writeStatus(ctx, s, session.Next(in))
	}
	return after, err
}

// run takes a frozen session further: first with what the caches know, and past them where a mover is given up.
func (r *Reconciler) run(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
	reader, live, look := client.Reader(r.Client), false, false
	refused := map[string]*v1alpha1.ResolvedError{}
	for {
		in, err := r.observe(ctx, reader, s, refused)
		if err == nil && look {
			in.VolumeSnapshots, err = r.volumeSnapshots(ctx, s)
		}
		if err != nil {
			return 0, err
		}
		d := session.Next(in)
		if d.Look && !look {
			look = true
			continue
		}
		if d.Verify && !live {
			reader, live = r.APIReader, true
			continue
		}
		if err := r.writeSnapshots(ctx, in, d); err != nil {
			return 0, err
		}
		before := len(refused)
		if err := r.writeCopies(ctx, in, d); err != nil {
			return 0, err
		}
		if err := r.writeJobs(ctx, in, d); err != nil {
			return 0, err
		}
		if len(refused) == before {
			after, err := r.writeStatus(ctx, s, d)
			if err != nil {
				return 0, err
			}
			return after, r.Hooks.CarryOut(ctx, s, d.Hooks, d.StopHooks, r.keeper().Newest)
		}
	}
}

// observe reads everything that the next step depends on, and makes the Snapshots that are missing. What can't be made is
// added to refused.
func (r *Reconciler) observe(ctx context.Context, reader client.Reader, s *v1alpha1.BackupSession, refused map[string]*v1alpha1.ResolvedError) (session.Input, error) {
	in := session.Input{Now: r.Clock.Now(), Session: s, Refused: refused, Hooks: r.Hooks.Results(s.UID)}
	var err error
	if in.Snapshots, err = r.snapshots(ctx, reader, s, refused); err != nil {
		return in, err
	}
	if in.Jobs, in.Pods, err = movers.Observe(ctx, reader, s, v1alpha1.LabelBackupSession, in.Now); err != nil {
		return in, err
	}
	if in.Copies, err = r.copies().Observe(ctx, s, in.Now); err != nil {
		return in, err
	}
	if err := r.observeSidecars(ctx, &in); err != nil {
		return in, err
	}
	return in, movers.Explain(ctx, r.APIReader, s.Namespace, in.Jobs)
}
