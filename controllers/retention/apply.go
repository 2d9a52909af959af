package retention

import (
	"context"
	"fmt"
	"slices"

	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/retention"
)

// apply removes the Snapshots that the verdicts let go. A deletion can't be taken back, so it first confirms what the
// verdicts rest on.
func (r *Reconciler) apply(ctx context.Context, s *state) error {
	clocks := r.look()
	if !slices.ContainsFunc(s.verdicts, retention.Verdict.Goes) {
		return nil
	}
	var err error
	if clocks.Server, err = r.ServerTime(ctx); err != nil {
		return err
	}
	for _, snapshot := range s.snapshots {
		clocks.See(snapshot.CreationTimestamp.Time, retention.TimeOf(snapshot))
	}
	if s.doubt = clocks.Doubt(); s.doubt != "" {
		return nil
	}
	if s.unsettled = s.changing; s.unsettled != nil {
		return nil
	}
	if err := r.confirm(ctx, s, clocks.Server); err != nil || s.unsettled != nil {
		return err
	}
	gone := 0
	for _, v := range s.verdicts {
		if !v.Goes() {
			continue
		}
		if gone++; gone > atOnce {
			s.more = true
			return nil
		}
		if err := r.remove(ctx, s.snapshots[v.Name], v.Reason,
			"RetentionPolicy "+refName(*s.ref)+": "+v.Message); err != nil {
			return err
		}
		s.removing++
	}
	return nil
}

// look compares the clock with the stopwatch.
func (r *Reconciler) look() retention.Clocks {
	clocks := retention.Clocks{Now: r.Clock.Now()}
	clocks.Steady, clocks.Jumped = r.steadiness.Look(clocks.Now, r.Stopwatch())
	return clocks
}

func behind(kind, name string) error {
	return apierrors.NewConflict(schema.GroupResource{Group: v1alpha1.Group, Resource: kind}, name,
		fmt.Errorf("the cache is stale"))
}

// remove writes why a Snapshot goes, then marks it so that its data goes with it, and then deletes it. Each step fails
// if somebody else has changed the Snapshot in the meantime.
func (r *Reconciler) remove(ctx context.Context, snapshot *v1alpha1.Snapshot, reason, message string) error {
	snapshot = snapshot.DeepCopy()
	before := snapshot.DeepCopy()
	conditions.MarkFalse(snapshot, v1alpha1.ConditionRetained, reason, "%s", message)
	if err := r.writer().Status(ctx, before, snapshot); err != nil {
		return err
	}
	before = snapshot.DeepCopy()
	snapshot.Spec.DeletionPolicy = v1alpha1.WipeOut
	controllerutil.AddFinalizer(snapshot, v1alpha1.FinalizerWipe)
	controllerutil.AddFinalizer(snapshot, v1alpha1.FinalizerRecord)
	if err := r.writer().Object(ctx, before, snapshot); err != nil {
		return err
	}
	err := r.Delete(logs.WithReason(ctx, reason), snapshot,
		client.Preconditions{UID: &snapshot.UID, ResourceVersion: &snapshot.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Snapshot %s: %w", snapshot.Name, err)
	}
	r.Event(snapshot, "Normal", reason, message)
	return nil
}
