// Package restoresession carries a RestoreSession from its creation to exactly one terminal phase. internal/run/restore
// decides what to do next; this package observes, asks for the decision and carries it out, in an order in which every
// step can be repeated.
//
// A Reconciler is safe for concurrent use: restores exclude each other by annotations of the claims and by Leases, both
// written with optimistic locking. Invariants: a restore ends the same way wherever the manager is killed
// (TestKilledAtAnyWrite), and of two restores into one claim only one writes
// (TestOfTwoRestoresOfTheSameMomentOneWrites).
package restoresession

import (
	"context"
	"time"

	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// Reconciler reconciles RestoreSessions. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// Clock measures deadlines.
	Clock clock.PassiveClock
	// MoverImage is the value of ${moverImage} in a Function.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// FieldManager owns all writes.
	FieldManager string
	// Hooks runs the hooks of the restores.
	Hooks *hookexec.Hooks
}

// Reconcile takes a RestoreSession as far as possible now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.RestoreSession{}
	return r.keeper().Reconcile(ctx, req, s, func() (time.Duration, error) { return r.reconcile(ctx, s) })
}

func (r *Reconciler) keeper() oneshot.Keeper {
	return oneshot.Keeper{
		Client: r.Client, EventRecorder: r.EventRecorder,
		Live: r.APIReader, Owner: client.FieldOwner(r.FieldManager),
	}
}

func (r *Reconciler) reconcile(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	if s.Status.Phase.Terminal() {
		r.Hooks.Forget(s.UID)
		return r.close(ctx, s)
	}
	if s.Status.Resolved == nil {
		after, err := r.start(ctx, s)
		if err != nil || s.Status.Resolved == nil {
			return after, err
		}
	}
	return r.run(ctx, s)
}

// start makes a restore that is not frozen wait, end or freeze.
func (r *Reconciler) start(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	in := restore.Input{Now: r.Clock.Now(), Session: s, Start: &restore.Start{}}
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
	before := s.Status
	after, err := r.writeStatus(ctx, s, restore.Next(in))
	if refusal := movers.RefusalOf(movers.AsRefusal(err)); refusal != nil {
		s.Status, in.Start = before, &restore.Start{TargetFound: in.Start.TargetFound, Error: refusal}
		return r.writeStatus(ctx, s, restore.Next(in))
	}
	return after, err
}

// run takes a frozen restore further. It first uses the caches, and reads past them before it gives up the mover.
func (r *Reconciler) run(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	reader, live := client.Reader(r.Client), false
	refused := map[string]*v1alpha1.ResolvedError{}
	for {
		in, err := r.observe(ctx, reader, s)
		if err != nil {
			return 0, err
		}
		in.Refused = refused
		d := restore.Next(in)
		if d.Verify && !live {
			reader, live = r.APIReader, true
			// The mover reports in the session itself.
			if err := reader.Get(ctx, client.ObjectKeyFromObject(s), s); err != nil {
				return 0, client.IgnoreNotFound(err)
			}
			continue
		}
		host, err := r.carryOut(ctx, s, in, &d)
		if err == nil {
			after, err := r.writeStatus(ctx, s, d)
			if err != nil {
				return 0, err
			}
			return after, r.Hooks.CarryOut(ctx, s, d.Hooks, d.StopHooks, r.keeper().Newest)
		}
		refusal := movers.RefusalOf(err)
		if refusal == nil || host == "" || refused[host] != nil {
			return 0, err
		}
		refused[host] = refusal
	}
}

// observe reads everything that the next step depends on.
func (r *Reconciler) observe(
	ctx context.Context, reader client.Reader, s *v1alpha1.RestoreSession,
) (restore.Input, error) {
	in := restore.Input{Now: r.Clock.Now(), Session: s, Hooks: r.Hooks.Results(s.UID)}
	var err error
	if in.Jobs, in.Pods, err = movers.Observe(ctx, reader, s, v1alpha1.LabelRestoreSession, in.Now); err != nil {
		return in, err
	}
	if err := r.observeSidecars(ctx, &in); err != nil {
		return in, err
	}
	if err := r.observeClaims(ctx, &in); err != nil {
		return in, err
	}
	return in, movers.Explain(ctx, r.APIReader, s.Namespace, in.Jobs)
}

// carryOut carries out a decision, except for the status. With an error it also returns the host whose Job could not be
// created.
func (r *Reconciler) carryOut(
	ctx context.Context, s *v1alpha1.RestoreSession, in restore.Input, d *restore.Decision,
) (host string, err error) {
	if err := r.writeMovers(ctx, s, *d); err != nil {
		return "", err
	}
	if host, err := r.writeSidecars(ctx, s, in, *d); err != nil {
		return host, err
	}
	for _, name := range d.Delete {
		if in.Jobs[name].Sidecar {
			continue
		}
		if err := movers.Delete(ctx, r.Client, s.Namespace, name); err != nil {
			return "", err
		}
	}
	for _, i := range d.Create {
		if run.RestoredBySidecars(s) {
			break
		}
		h := &s.Status.Resolved.Hosts[i]
		if restore.ProvisionsClaims(s.Status.Resolved) {
			after, err := r.provision(ctx, s, h, &d.Status)
			if err != nil {
				return h.Name, err
			}
			if after > 0 {
				d.After = min(d.After, after) // the deadline wakes the restore in any case
			}
			continue
		}
		if err := r.create(ctx, s, h, d.Status.Attempt); err != nil {
			return h.Name, err
		}
	}
	if d.Stamp {
		if err := r.stamp(ctx, s); err != nil {
			return "", err
		}
	}
	if d.StampMade {
		if err := r.stampMade(ctx, s); err != nil {
			return "", err
		}
	}
	if d.Release {
		return "", r.release(ctx, s)
	}
	return "", nil
}
