// Package restorebatch carries a RestoreBatch from its creation to its one terminal phase. What to do next is decided by
// internal/session; this package reads, asks, and makes RestoreSessions, in an order in which every step can be repeated. The
// RestoreSessions do the work.
package restorebatch

import (
	"context"
	"time"

	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook/execute"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/session/movers"
)

// Reconciler reconciles RestoreBatches. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// Clock that deadlines are measured with.
	Clock clock.PassiveClock
	// MoverImage is what ${moverImage} of a hook's Function stands for.
	MoverImage string
	// FieldManager of all writes.
	FieldManager string
	// Hooks around all targets.
	Hooks *execute.Hooks
	// Account of the manager, "<namespace>:<name>", that a namespace's owner binds ClusterRole cairn-scaler to.
	Account string
}

// Reconcile takes a RestoreBatch as many steps further as can be taken now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	b := &v1alpha1.RestoreBatch{}
	return r.keeper().Reconcile(ctx, req, b, func() (time.Duration, error) { return r.reconcile(ctx, b) })
}

func (r *Reconciler) keeper() lifecycle.Keeper {
	return lifecycle.Keeper{
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

// start waits, ends or freezes a RestoreBatch that is not frozen.
func (r *Reconciler) start(ctx context.Context, b *v1alpha1.RestoreBatch) (time.Duration, error) {
	in := session.RestoreBatchInput{Now: r.Clock.Now(), Batch: b, Start: &session.RestoreBatchStart{}}
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
	after, err := r.writeStatus(ctx, b, session.NextRestoreBatch(in))
	if refusal := movers.RefusalOf(movers.Rejected(err)); refusal != nil {
		b.Status, in.Start = before, &session.RestoreBatchStart{Error: refusal}
		return r.writeStatus(ctx, b, session.NextRestoreBatch(in))
	}
	return after, err
}

// run takes a frozen RestoreBatch further: first with what the caches know, and past them where something is given up.
func (r *Reconciler) run(ctx context.Context, b *v1alpha1.RestoreBatch) (time.Duration, error) {
	reader, live := client.Reader(r.Client), false
	refused := map[string]*v1alpha1.ResolvedError{}
	for {
		in, err := r.observe(ctx, reader, b)
		if err != nil {
			return 0, err
		}
		in.Refused = refused
		d := session.NextRestoreBatch(in)
		var found map[string]*workload
		if d.Look {
			if found, in.Workloads, err = r.workloads(ctx, b); err != nil {
				return 0, err
			}
			d = session.NextRestoreBatch(in)
		}
		if d.Verify && !live {
			reader, live = r.APIReader, true
			continue
		}
		if refused, err := r.scale(ctx, b, &in, found, d.Scale); err != nil {
			return 0, err
		} else if refused {
			d = session.NextRestoreBatch(in)
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
func (r *Reconciler) observe(ctx context.Context, reader client.Reader, b *v1alpha1.RestoreBatch) (session.RestoreBatchInput, error) {
	in := session.RestoreBatchInput{Now: r.Clock.Now(), Batch: b, Hooks: r.Hooks.Results(b.UID)}
	var err error
	if in.Children, err = children(ctx, reader, b); err != nil {
		return in, err
	}
	if in.Jobs, _, err = movers.Observe(ctx, reader, b, v1alpha1.LabelRestoreBatch, in.Now); err != nil {
		return in, err
	}
	return in, movers.Explain(ctx, r.APIReader, b.Namespace, in.Jobs)
}

// carryOut does what was decided, up to the status. Beside an error it says which target's RestoreSession could not be made.
func (r *Reconciler) carryOut(ctx context.Context, b *v1alpha1.RestoreBatch, d session.RestoreBatchDecision) (target string, err error) {
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
