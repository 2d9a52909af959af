// Package backupsession carries a BackupSession from its creation to exactly one terminal phase. internal/run/backup
// decides what to do next; this package observes, asks for the decision and carries it out, in an order in which every
// step can be repeated.
//
// A Reconciler is safe for concurrent use; a mutex serializes the starts of runs that must not start beside each other.
// Invariants: a run ends the same way wherever the manager is killed (TestKilledAtAnyWrite), an ended run never changes
// (TestARunSucceeds), and a frozen run ignores later changes of policy (TestWhatWasFrozenStays).
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
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/selection"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// Reconciler reconciles BackupSessions. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// Scheme of the client.
	Scheme *runtime.Scheme
	// Clock measures deadlines.
	Clock clock.PassiveClock
	// MoverImage is the value of ${moverImage} in a Function.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// ClusterName begins the directories of repositories for which policy names no directory.
	ClusterName string
	// FieldManager owns all writes.
	FieldManager string
	// Hooks runs the hooks of the sessions.
	Hooks *hookexec.Hooks

	// starting serializes starts. A run that must not start beside its rivals or beside other runs with hooks holds it
	// from its look at those runs until its start is written.
	starting sync.Mutex

	// selection reads the objects that the selectors of batches find.
	selection selection.Reader
}

// Reconcile takes a BackupSession as far as possible now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.BackupSession{}
	return r.keeper().Reconcile(ctx, req, s, func() (time.Duration, error) { return r.reconcile(ctx, s) })
}

func (r *Reconciler) keeper() oneshot.Keeper {
	return oneshot.Keeper{
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

// start makes a session that is not frozen wait, end or freeze.
func (r *Reconciler) start(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
	in := backup.Input{Now: r.Clock.Now(), Session: s, Start: &backup.Start{}}
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
	d := backup.Next(in)
	if err := r.replace(ctx, s, in.Start.Rivals.Runs, d.Replace); err != nil {
		return 0, err
	}
	after, err := r.writeStatus(ctx, s, d)
	if refusal := movers.RefusalOf(movers.AsRefusal(err)); refusal != nil {
		s.Status, in.Start = before, &backup.Start{Refused: refusal}
		return r.writeStatus(ctx, s, backup.Next(in))
	}
	return after, err
}

// run takes a frozen session further. It first uses the caches, and reads past them before it gives up a mover.
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
		d := backup.Next(in)
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

// observe reads everything that the next step depends on, and creates missing Snapshots. If a Snapshot can't be
// created, it adds the reason to refused.
func (r *Reconciler) observe(
	ctx context.Context, reader client.Reader, s *v1alpha1.BackupSession, refused map[string]*v1alpha1.ResolvedError,
) (backup.Input, error) {
	in := backup.Input{Now: r.Clock.Now(), Session: s, Refused: refused, Hooks: r.Hooks.Results(s.UID)}
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
