package restorebatch

import (
	"context"
	"fmt"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// stamped reports whether an identical earlier RestoreBatch filled each target, and each still has its data. resolved
// holds the resolved targets. It is empty if their Snapshots are gone: then only the spec can name a target.
func (r *Reconciler) stamped(
	ctx context.Context, b *v1alpha1.RestoreBatch, resolved []v1alpha1.ResolvedRestoreTarget,
) (bool, error) {
	filledBefore := r.filledBefore(ctx, b)
	for i := range b.Spec.Targets {
		t := b.Spec.Targets[i]
		if len(resolved) > 0 {
			t.Target = resolved[i].Target
		}
		if filled, err := filledBefore(&t); err != nil || !filled {
			return false, err
		}
	}
	return true, nil
}

// filledBefore returns a function that reports whether an identical earlier RestoreBatch filled one target, which still
// has its data. It reads what is in the namespace at its first call.
func (r *Reconciler) filledBefore(
	ctx context.Context, b *v1alpha1.RestoreBatch,
) func(t *v1alpha1.RestoreBatchTarget) (bool, error) {
	pods, ofSpec := r.podsOf(ctx, b.Namespace), restorebatch.SpecDigests(b)
	claims := sync.OnceValues(func() ([]corev1.PersistentVolumeClaim, error) {
		var list corev1.PersistentVolumeClaimList
		if err := r.APIReader.List(ctx, &list, client.InNamespace(b.Namespace)); err != nil {
			return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
		}
		return list.Items, nil
	})
	return func(t *v1alpha1.RestoreBatchTarget) (bool, error) {
		all, err := claims()
		if err != nil {
			return false, err
		}
		identical := restorebatch.IdenticalTo(b, t.Name, restorebatch.TargetDigests(ofSpec, t.Name))
		return r.filled(ctx, b.Namespace, t, all, pods, identical)
	}
}

// awaitDatabases makes a RestoreBatch wait for a database that an identical one can have filled. While it restarts,
// nobody can see that, and a hook would run on what it holds.
func (r *Reconciler) awaitDatabases(ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start) error {
	pods, ofSpec := r.podsOf(ctx, b.Namespace), restorebatch.SpecDigests(b)
	for i := range start.Resolved.Targets {
		t := &start.Resolved.Targets[i]
		if t.Target == nil || !t.Target.IsDatabase() {
			continue
		}
		mark, err := r.markOf(ctx, b.Namespace, *t.Target)
		if err != nil {
			return err
		}
		if mark == nil || !restore.Marked(mark.Annotations, restorebatch.TargetDigests(ofSpec, t.Name)...) {
			continue
		}
		running, err := pods()
		if err != nil {
			return err
		}
		_, refusal, err := read.FindDatabase(ctx, r.APIReader, b.Namespace, *t.Target,
			catalog.RestoreParams(b.Spec.Targets[i].Addon), running)
		if refusal != nil || err != nil {
			start.Error, start.Wait = refusal, run.WaitForChild
			return err
		}
	}
	return nil
}

// markOf returns the Lease of a database, which goes with the object that stands for it, or nil. The database itself
// need not be ready.
func (r *Reconciler) markOf(
	ctx context.Context, namespace string, target v1alpha1.TypedObjectReference,
) (*coordinationv1.Lease, error) {
	object, refusal, err := read.DatabaseObject(ctx, r.APIReader, namespace, target)
	if refusal != nil || err != nil {
		return nil, err
	}
	return read.DatabaseMark(ctx, r.APIReader, namespace, object.GetUID())
}

// podsOf returns a function that reads the pods of a namespace at its first call.
func (r *Reconciler) podsOf(ctx context.Context, namespace string) func() ([]corev1.Pod, error) {
	return sync.OnceValues(func() ([]corev1.Pod, error) {
		var list corev1.PodList
		if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list Pods: %w", err)
		}
		return list.Items, nil
	})
}

// filled reports whether an identical restore filled a target that still has its data. It looks where the target's
// RestoreSession looks: at the claim, or at the Lease of the database. Which claims a workload has is known only once
// its Snapshot is read, so there it looks for all claims of the stamp.
func (r *Reconciler) filled(
	ctx context.Context, namespace string, t *v1alpha1.RestoreBatchTarget, claims []corev1.PersistentVolumeClaim,
	pods func() ([]corev1.Pod, error), by restore.Identical,
) (bool, error) {
	if t.Target != nil && t.Target.IsDatabase() {
		running, err := pods()
		if err != nil {
			return false, err
		}
		found, refusal, err := read.FindDatabase(ctx, r.APIReader, namespace, *t.Target,
			catalog.RestoreParams(t.Addon), running)
		if err != nil || refusal != nil {
			return false, err
		}
		filled, _, err := read.DatabaseFilled(ctx, r.APIReader, namespace, found, claims, by)
		return filled, err
	}
	filled, err := read.Filled(ctx, r.APIReader, claims, by)
	if err != nil {
		return false, err
	}
	if t.Target != nil && t.Target.Kind == v1alpha1.KindPersistentVolumeClaim {
		return filled.All([]string{t.Target.Name}), nil
	}
	return filled.Complete(), nil
}
