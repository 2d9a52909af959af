package restorebatch

import (
	"context"
	"fmt"
	"sync"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
	"github.com/cairn-backup/cairn/internal/scaling"
)

// autoscalers returns a function that reads the autoscalers of a namespace at its first call.
func (r *Reconciler) autoscalers(
	ctx context.Context, namespace string,
) func() ([]autoscalingv2.HorizontalPodAutoscaler, error) {
	return sync.OnceValues(func() ([]autoscalingv2.HorizontalPodAutoscaler, error) {
		var list autoscalingv2.HorizontalPodAutoscalerList
		if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list HorizontalPodAutoscalers: %w", err)
		}
		return list.Items, nil
	})
}

// findManager sets who manages the replicas of a workload, or can manage them.
func findManager(kind string, w *workload, autoscalers func() ([]autoscalingv2.HorizontalPodAutoscaler, error)) error {
	all, err := autoscalers()
	if err == nil {
		w.managed = scaling.ManagerOfReplicas(kind, w.Object, all)
	}
	return err
}

// findTaken sets who can manage the replicas of a workload although somebody else set them. It ignores that somebody
// else if it was Cairn: a RestoreBatch left the workload without pods, and nobody has changed it since.
func (r *Reconciler) findTaken(ctx context.Context, w *workload) error {
	if w.managed != "" {
		return nil
	}
	w.managed = scaling.PossibleManager(w.Object, r.Clock.Now())
	if w.managed == "" {
		return nil
	}
	left, err := r.leftDown(ctx, w)
	if left != nil {
		w.managed = ""
	}
	return err
}

// leftDown returns the state of a workload in the RestoreBatch that left it without pods, or nil: see scaling.LeftDown.
// It reads past the cache: that RestoreBatch can have ended a moment ago.
func (r *Reconciler) leftDown(ctx context.Context, w *workload) (*v1alpha1.ScaledWorkload, error) {
	if w.Replicas != 0 {
		return nil, nil
	}
	batches, err := r.batches(ctx, w.GetNamespace())
	return scaling.LeftDown(batches, w.Workload), err
}

// batches returns the RestoreBatches of a namespace.
func (r *Reconciler) batches(ctx context.Context, namespace string) ([]v1alpha1.RestoreBatch, error) {
	var list v1alpha1.RestoreBatchList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list RestoreBatches: %w", err)
	}
	return list.Items, nil
}

// restoredInPods returns the target that the sidecar in the pods of a workload is to restore, because the batch or the
// Addon's task says so. It returns "" if there is none.
func (r *Reconciler) restoredInPods(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start, w v1alpha1.ScaleDown,
) (string, error) {
	reader := read.FallbackReader{Reader: r.Client, Live: r.APIReader}
	for i := range start.Resolved.Targets {
		t, asked := start.Resolved.Targets[i].Target, &b.Spec.Targets[i]
		if t == nil || !restorebatch.Scales(w, *t) {
			continue
		}
		executor, err := read.Executor(ctx, reader, asked.Executor, catalog.AddonOfRestore(t, asked.Addon), true)
		if err != nil {
			return "", err
		}
		if executor == v1alpha1.ExecutorSidecar {
			return asked.Name, nil
		}
	}
	return "", nil
}
