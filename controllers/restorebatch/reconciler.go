// Package restorebatch carries a RestoreBatch from its creation to exactly one terminal phase.
// internal/run/restorebatch decides what to do next; this package observes, asks for the decision, and creates
// RestoreSessions, which do the work, in an order in which every step can be repeated.
//
// A Reconciler is safe for concurrent use; one goroutine at a time reconciles a RestoreBatch. Invariants: a restore
// ends the same way wherever the manager is killed (TestKilledAtAnyWrite), a workload that was scaled down gets its
// replicas back unless a part of its data was not restored (TestKilledWhileItScales,
// TestAWorkloadStaysDownWhereNotAllWasRestored), and of two restores that scale one workload only one goes
// (TestOfTwoRestoreBatchesOfTheSameMomentTheOlderOneScales).
package restorebatch

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/run"
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
	// ClusterName is what {cluster} in a directoryPrefix stands for.
	ClusterName string
	// FieldManager owns all writes.
	FieldManager string
	// Hooks runs the hooks around all targets.
	Hooks *hookexec.Hooks
	// Account is the manager's ServiceAccount, "<namespace>:<name>". The owner of a namespace binds ClusterRole
	// cairn-scaler to it.
	Account string

	// starting serializes the starts of RestoreBatches that scale workloads. Such a start holds it from its look at the
	// others until it is written: of two at the same moment, the second sees the first.
	starting oneshot.StartLock

	pauses    movers.Pauses    // hold what was refused: RestoreSessions by their targets, workloads, and Disown
	deletions movers.Deletions // are those that the API server refuses
}

// Reconcile takes a RestoreBatch as far as possible now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	return oneshot.Reconciler[v1alpha1.RestoreBatch, *v1alpha1.RestoreBatch, observed]{
		Writer: r.writer(), Live: r.APIReader, Hooks: r.Hooks, Kind: kind{r},
		Clock: r.Clock, Pauses: &r.pauses, Deletions: &r.deletions,
	}.Reconcile(ctx, req)
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.RestoreBatchKind,
	}
}

// kind is what RestoreBatches do in their own way.
type kind struct{ *Reconciler }

// observed is the input of a decision, with the workloads that it is about.
type observed struct {
	restorebatch.Input
	found map[string]*workload
}

// Start adopts a RestoreBatch and looks up what it needs. One that scales workloads holds a lock until its start is
// written.
func (r kind) Start(ctx context.Context, b *v1alpha1.RestoreBatch) (observed, func(), error) {
	in := observed{Input: restorebatch.Input{Now: r.Clock.Now(), Batch: b, Start: &restorebatch.Start{}}}
	if b.DeletionTimestamp != nil {
		return in, func() {}, nil
	}
	err := oneshot.Hold(ctx, r.writer(), b)
	if err != nil {
		return in, nil, err
	}
	if len(b.Spec.ScaleDown) == 0 {
		in.Start, err = r.lookUp(ctx, b)
		return in, func() {}, err
	}
	release, err := r.starting.Take(func() (err error) {
		in.Start, err = r.lookUp(ctx, b)
		return err
	})
	return in, release, err
}

// Refuse ends a RestoreBatch whose status the API server does not accept.
func (kind) Refuse(in observed, refusal *v1alpha1.ResolvedError) observed {
	in.Start = &restorebatch.Start{Error: refusal}
	return in
}

// Observe reads everything that the next step depends on.
func (r kind) Observe(
	ctx context.Context, reader client.Reader, b *v1alpha1.RestoreBatch, refused movers.Refusals, look bool,
) (observed, error) {
	in := observed{
		Input: restorebatch.Input{
			Now: r.Clock.Now(), Batch: b, Refused: refused, DisownRefused: refused[disownKey],
			DisownUnanswered: refused[unansweredKey], Hooks: r.Hooks.Results(b.UID),
		},
	}
	var err error
	if in.Children, err = children(ctx, reader, b); err != nil {
		return in, err
	}
	if in.Jobs, _, err = movers.Observe(ctx, reader, b, v1alpha1.LabelRestoreBatch, in.Now); err != nil {
		return in, err
	}
	if err := movers.Explain(ctx, r.APIReader, b.Namespace, in.Jobs); err != nil || !look {
		return in, err
	}
	if in.found, in.Workloads, err = r.workloads(ctx, b); err != nil {
		return in, err
	}
	for name, w := range in.Workloads {
		if refusal := refused[name]; refusal != nil {
			if w.Refused = refusal.Message; run.CanPass(refusal) {
				w.Refused, w.Held = "", refusal
			}
			in.Workloads[name] = w
		}
	}
	return in, nil
}

// Decide decides what to do next.
func (r kind) Decide(in observed) oneshot.Decision[v1alpha1.RestoreBatch] {
	d := restorebatch.Next(in.Input)
	return oneshot.Decision[v1alpha1.RestoreBatch]{
		Base:      &d.Base,
		SetStatus: func(b *v1alpha1.RestoreBatch) { b.Status = d.Status },
		CarryOut: func(ctx context.Context, refused movers.Refusals) error {
			if in.Start != nil {
				return nil
			}
			names := slices.Sorted(maps.Keys(d.Scale))
			for _, i := range d.Create {
				names = append(names, in.Batch.Status.Resolved.Targets[i].Name)
			}
			if d.Disown {
				names = append(names, disownKey, unansweredKey)
			}
			known := len(refused)
			if r.pauses.Hold(ctx, in.Batch.UID, in.Now, refused, names) {
				return nil
			}
			if err := r.scale(ctx, in, d.Scale, refused); err != nil || len(refused) > known {
				return err
			}
			key, err := r.carryOut(ctx, in.Input, d)
			return refused.Add(ctx, key, err)
		},
		CleanUp: func() []movers.Deletion {
			var out []movers.Deletion
			for _, name := range d.Delete {
				out = append(out, movers.Deletion{Name: "RestoreSession " + name, Do: func(ctx context.Context) error {
					return r.cancel(ctx, in.Children[name])
				}})
			}
			return append(out, movers.DeletionsOf(r.Client, r.APIReader, in.Batch, d.DeleteJobs, in.Jobs)...)
		},
	}
}

// Close releases an ended RestoreBatch.
func (r kind) Close(ctx context.Context, b *v1alpha1.RestoreBatch) (time.Duration, error) {
	return 0, oneshot.Release(ctx, r.writer(), b)
}

// Keys of what refuses Decision.Disown, and of the webhook that is away. They are no names of targets.
const (
	disownKey     = "/disown"
	unansweredKey = "/disown-unanswered"
)

// carryOut carries out a decision, except for the status and the clean-up. With an error it also returns the key under
// which the next observation looks for a refusal, or "".
func (r *Reconciler) carryOut(
	ctx context.Context, in restorebatch.Input, d restorebatch.Decision,
) (key string, err error) {
	b := in.Batch
	for _, i := range d.Create {
		if err := r.create(ctx, b, i); err != nil {
			return b.Status.Resolved.Targets[i].Name, err
		}
	}
	if d.Disown {
		err := r.disown(ctx, b)
		if movers.Unanswered(err) {
			return unansweredKey, movers.AsDenial(err)
		}
		return disownKey, movers.Unchanged("the targets", err)
	}
	return "", nil
}
