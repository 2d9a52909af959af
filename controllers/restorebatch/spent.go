package restorebatch

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// target is a target of a RestoreBatch whose confirmation can be used.
type target struct {
	v1alpha1.RestoreBatchTarget
	confirmation restore.Confirmation
}

// spent explains why the RestoreSession of a target would be refused: an identical restore has used its confirmation,
// or has filled it, but nothing proves that it still has its data. A batch learns that before it takes the pods of an
// application away. The volumes of a workload are known only to the RestoreSession, which looks at them itself.
func (r *Reconciler) spent(
	ctx context.Context, b *v1alpha1.RestoreBatch, resolved []v1alpha1.ResolvedRestoreTarget,
) (*v1alpha1.ResolvedError, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, client.InNamespace(b.Namespace)); err != nil {
		return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	pods, ofSpec := r.podsOf(ctx, b.Namespace), restorebatch.SpecDigests(b)
	for i := range resolved {
		if resolved[i].Target == nil {
			continue
		}
		stamps := restorebatch.TargetDigests(ofSpec, b.Spec.Targets[i].Name)
		t := target{b.Spec.Targets[i], restorebatch.Confirmation(b, i, stamps)}
		t.Target = resolved[i].Target
		look := r.spentClaim
		if t.Target.IsDatabase() {
			look = r.spentDatabase
		}
		if refusal, err := look(ctx, b.Namespace, &t, claims.Items, pods); refusal != nil || err != nil {
			return refusal, err
		}
	}
	return nil, nil
}

// spentClaim is spent for a target that is a claim.
func (r *Reconciler) spentClaim(
	ctx context.Context, _ string, t *target, claims []corev1.PersistentVolumeClaim, _ func() ([]corev1.Pod, error),
) (*v1alpha1.ResolvedError, error) {
	i := slices.IndexFunc(claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == t.Target.Name })
	if t.Target.Kind != v1alpha1.KindPersistentVolumeClaim || i < 0 {
		return nil, nil
	}
	filled, err := read.Filled(ctx, r.APIReader, claims[i:i+1], t.confirmation.Stamps...)
	if err != nil || filled.All([]string{t.Target.Name}) {
		return nil, err
	}
	return t.confirmation.Used("PersistentVolumeClaim "+t.Target.Name, claims[i].Annotations), nil
}

// spentDatabase is spent for a target that is a database. One whose server is elsewhere, or is one of several, never
// proves that it has its data.
func (r *Reconciler) spentDatabase(
	ctx context.Context, namespace string, t *target, claims []corev1.PersistentVolumeClaim,
	pods func() ([]corev1.Pod, error),
) (*v1alpha1.ResolvedError, error) {
	running, err := pods()
	if err != nil {
		return nil, err
	}
	found, refusal, err := read.FindDatabase(ctx, r.APIReader, namespace, *t.Target, catalog.RestoreParams(t.Addon),
		running)
	if err != nil || refusal != nil {
		return nil, err // The RestoreSession waits for a database that is not ready.
	}
	filled, mark, err := read.DatabaseFilled(ctx, r.APIReader, namespace, found, claims, t.confirmation.Stamps...)
	if err != nil || filled || mark == nil {
		return nil, err
	}
	if t.Confirm == "" && found.Location.Pod == nil && restore.Marked(mark.Annotations, t.confirmation.Stamps...) {
		return restorebatch.FilledUnseen(&t.RestoreBatchTarget, found.UID(), mark.Name), nil
	}
	return t.confirmation.Used("Lease "+mark.Name, mark.Annotations), nil
}
