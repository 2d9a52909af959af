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
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/status"
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
	// Egress decides to which servers movers can connect. Nil has the built-in rules.
	Egress *egress.Policy
	// ClusterName is what {cluster} in a directoryPrefix stands for.
	ClusterName string
	// FieldManager owns all writes.
	FieldManager string
	// Hooks runs the hooks of the restores.
	Hooks *hookexec.Hooks

	pauses    movers.Pauses    // hold what was refused: Jobs and claims by their hosts, and marks
	deletions movers.Deletions // are those that the API server refuses
}

// Reconcile takes a RestoreSession as far as possible now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	return oneshot.Reconciler[v1alpha1.RestoreSession, *v1alpha1.RestoreSession, restore.Input]{
		Writer: r.writer(), Live: r.APIReader, Hooks: r.Hooks, Kind: kind{r},
		Clock: r.Clock, Pauses: &r.pauses, Deletions: &r.deletions,
	}.Reconcile(ctx, req)
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.RestoreSessionKind,
	}
}

// kind is what RestoreSessions do in their own way.
type kind struct{ *Reconciler }

// Start adopts a restore and looks up what it needs.
func (r kind) Start(ctx context.Context, s *v1alpha1.RestoreSession) (restore.Input, func(), error) {
	in := restore.Input{Now: r.Clock.Now(), Session: s, Start: &restore.Start{}}
	if s.DeletionTimestamp != nil {
		return in, func() {}, nil
	}
	err := oneshot.Hold(ctx, r.writer(), s)
	if err != nil {
		return in, nil, err
	}
	in.Start, err = r.lookUp(ctx, s)
	return in, func() {}, err
}

// Refuse ends a restore whose status the API server does not accept.
func (kind) Refuse(in restore.Input, refusal *v1alpha1.ResolvedError) restore.Input {
	in.Start = &restore.Start{TargetFound: in.Start.TargetFound, Error: refusal}
	return in
}

// Observe reads everything that the next step depends on.
func (r kind) Observe(
	ctx context.Context, reader client.Reader, s *v1alpha1.RestoreSession, refused movers.Refusals, look bool,
) (restore.Input, error) {
	in := restore.Input{Now: r.Clock.Now(), Session: s, Refused: refused, Hooks: r.Hooks.Results(s.UID)}
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
	if err := r.observeClasses(ctx, &in); err != nil {
		return in, err
	}
	if look {
		if in.Present, err = r.presentClaims(ctx, s); err != nil {
			return in, err
		}
	}
	return in, movers.Explain(ctx, r.APIReader, s.Namespace, in.Jobs)
}

// Decide decides what to do next.
func (r kind) Decide(in restore.Input) oneshot.Decision[v1alpha1.RestoreSession] {
	d := restore.Next(in)
	return oneshot.Decision[v1alpha1.RestoreSession]{
		Base:      &d.Base,
		SetStatus: func(s *v1alpha1.RestoreSession) { s.Status = d.Status },
		CarryOut: func(ctx context.Context, refused movers.Refusals) error {
			if in.Start != nil {
				return nil
			}
			var names []string
			for _, i := range d.Create {
				names = append(names, in.Session.Status.Resolved.Hosts[i].Name)
			}
			if names = append(names, d.Marks()...); r.pauses.Hold(ctx, in.Session.UID, in.Now, refused, names) {
				return nil
			}
			name, err := r.carryOut(ctx, in, &d)
			return refused.Add(ctx, name, err)
		},
		CleanUp: func() []movers.Deletion {
			return movers.DeletionsOf(r.Client, r.APIReader, in.Session, d.Delete, in.Jobs)
		},
	}
}

// Close releases an ended restore, and returns when to look again.
func (r kind) Close(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	return r.close(ctx, s)
}

// carryOut carries out a decision, except for the status and the clean-up. With an error it also returns the name that
// a refusal has in Input.Refused, or "".
func (r *Reconciler) carryOut(
	ctx context.Context, in restore.Input, d *restore.Decision,
) (name string, err error) {
	s := in.Session
	if err := r.writeMovers(ctx, s, in.Jobs, *d); err != nil {
		return "", err
	}
	if host, err := r.writeSidecars(ctx, s, in, d); err != nil {
		return host, err
	}
	if !run.RestoredBySidecars(s) {
		if host, err := r.createJobs(ctx, s, d); err != nil {
			return host, err
		}
	}
	if d.Stamp {
		if err := r.stamp(ctx, s); err != nil {
			return restore.StampRefused, err
		}
	}
	if d.StampMade {
		if err := r.stampMade(ctx, s); err != nil {
			return restore.StampRefused, err
		}
	}
	if d.Release {
		return restore.ReleaseRefused, r.release(ctx, s, &d.Status)
	}
	return "", nil
}

// createJobs creates the Jobs of a decision, or the claims of its hosts. With an error it also returns the host.
func (r *Reconciler) createJobs(
	ctx context.Context, s *v1alpha1.RestoreSession, d *restore.Decision,
) (host string, err error) {
	waiting := false
	for _, i := range d.Create {
		h := restore.Unfinished(&s.Status.Resolved.Hosts[i], d.Status.Components)
		var after time.Duration
		if restore.ProvisionsClaims(s.Status.Resolved) {
			after, err = r.provision(ctx, s, h, &d.Status)
		} else {
			after, err = r.create(ctx, s, h, &d.Status)
		}
		switch {
		case r.waits(s, d, err):
			waiting = true
		case err != nil:
			return h.Name, err
		case after > 0:
			d.After = run.EarlierOf(d.After, after)
		}
	}
	if !waiting && len(d.Create) > 0 {
		r.goesOn(s, d)
	}
	return "", nil
}
