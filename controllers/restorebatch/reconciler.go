// Package restorebatch carries a RestoreBatch from its creation to exactly one terminal phase.
// internal/run/restorebatch decides what to do next; this package observes, asks for the decision, and creates
// RestoreSessions, which do the work, in an order in which every step can be repeated.
//
// A Reconciler is safe for concurrent use; one goroutine at a time reconciles a RestoreBatch. Invariants: a restore
// ends the same way wherever the manager is killed (TestKilledAtAnyWrite), and a workload that was scaled down gets its
// replicas back unless a part of its data was not restored (TestKilledWhileItScales,
// TestAWorkloadStaysDownWhereNotAllWasRestored).
package restorebatch

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
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// Reconciler reconciles RestoreBatches. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// Clock measures deadlines.
	Clock clock.PassiveClock
	// MoverImage is the value of ${moverImage} in a hook's Function.
	MoverImage string
	// FieldManager owns all writes.
	FieldManager string
	// Hooks runs the hooks around all targets.
	Hooks *hookexec.Hooks
	// Account is the manager's ServiceAccount, "<namespace>:<name>". The owner of a namespace binds ClusterRole
	// cairn-scaler to it.
	Account string
}

// Reconcile takes a RestoreBatch as far as possible now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	b := &v1alpha1.RestoreBatch{}
	return r.keeper().Reconcile(ctx, req, b, func() (time.Duration, error) { return r.reconcile(ctx, b) })
}

func (r *Reconciler) keeper() oneshot.Keeper {
	return oneshot.Keeper{
		Client: r.Client, EventRecorder: r.EventRecorder,
		Live: r.APIReader, Owner: client.FieldOwner(r.FieldManager),
	}
}

func (r *Reconciler) reconcile(ctx context.Context, b *v1alpha1.RestoreBatch) (time.Duration, error) {
	if b.Status.Phase.Terminal() {
		r.Hooks.Forget(b.UID)
		return 0, r.keeper().Release(ctx, b)
	}
	if b.Status.Resolved == nil {
		return r.start(ctx, b)
	}
	return r.run(ctx, b)
}

// start makes a RestoreBatch that is not frozen wait, end or freeze.
func (r *Reconciler) start(ctx context.Context, b *v1alpha1.RestoreBatch) (time.Duration, error) {
	in := restorebatch.Input{Now: r.Clock.Now(), Batch: b, Start: &restorebatch.Start{}}
	if b.DeletionTimestamp == nil {
		if err := r.adopt(ctx, b); err != nil {
			return 0, err
		}
		start, err := r.lookUp(ctx, b)
		if err != nil {
			return 0, err
		}
		in.Start = start
	}
	before := b.Status
	after, err := r.writeStatus(ctx, b, restorebatch.Next(in))
	if refusal := movers.RefusalOf(movers.AsRefusal(err)); refusal != nil {
		b.Status, in.Start = before, &restorebatch.Start{Error: refusal}
		return r.writeStatus(ctx, b, restorebatch.Next(in))
	}
	return after, err
}

// run takes a frozen RestoreBatch further. It first uses the caches, and reads past them before it gives something up.
func (r *Reconciler) run(ctx context.Context, b *v1alpha1.RestoreBatch) (time.Duration, error) {
	reader, live := client.Reader(r.Client), false
	refused := map[string]*v1alpha1.ResolvedError{}
	for {
		in, err := r.observe(ctx, reader, b)
		if err != nil {
			return 0, err
		}
		in.Refused = refused
		d := restorebatch.Next(in)
		var found map[string]*workload
		if d.Look {
			if found, in.Workloads, err = r.workloads(ctx, b); err != nil {
				return 0, err
			}
			d = restorebatch.Next(in)
		}
		if d.Verify && !live {
			reader, live = r.APIReader, true
			continue
		}
		if refused, err := r.scale(ctx, b, &in, found, d.Scale); err != nil {
			return 0, err
		} else if refused {
			d = restorebatch.Next(in)
		}
		target, err := r.carryOut(ctx, b, d)
		if err == nil {
			after, err := r.writeStatus(ctx, b, d)
			if err != nil {
				return 0, err
			}
			return after, r.Hooks.CarryOut(ctx, b, d.Hooks, d.StopHooks, r.keeper().Newest)
		}
		refusal := movers.RefusalOf(err)
		if refusal == nil || target == "" || refused[target] != nil {
			return 0, err
		}
		refused[target] = refusal
	}
}

// observe reads everything that the next step depends on.
func (r *Reconciler) observe(
	ctx context.Context, reader client.Reader, b *v1alpha1.RestoreBatch,
) (restorebatch.Input, error) {
	in := restorebatch.Input{Now: r.Clock.Now(), Batch: b, Hooks: r.Hooks.Results(b.UID)}
	var err error
	if in.Children, err = children(ctx, reader, b); err != nil {
		return in, err
	}
	if in.Jobs, _, err = movers.Observe(ctx, reader, b, v1alpha1.LabelRestoreBatch, in.Now); err != nil {
		return in, err
	}
	return in, movers.Explain(ctx, r.APIReader, b.Namespace, in.Jobs)
}

// carryOut carries out a decision, except for the status. With an error it also returns the target whose RestoreSession
// could not be created.
func (r *Reconciler) carryOut(
	ctx context.Context, b *v1alpha1.RestoreBatch, d restorebatch.Decision,
) (target string, err error) {
	for _, name := range d.Delete {
		if err := r.cancel(ctx, b, name); err != nil {
			return "", err
		}
	}
	for _, name := range d.DeleteJobs {
		if err := movers.Delete(ctx, r.Client, b.Namespace, name); err != nil {
			return "", err
		}
	}
	for _, i := range d.Create {
		if err := r.create(ctx, b, i); err != nil {
			return b.Status.Resolved.Targets[i].Name, err
		}
	}
	return "", nil
}
