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

// workloadKinds are the kinds of targets with pods of their own.
var workloadKinds = []string{v1alpha1.KindDeployment, v1alpha1.KindStatefulSet, v1alpha1.KindDaemonSet}

// target is a target of a RestoreBatch whose confirmation can be used.
type target struct {
	v1alpha1.RestoreBatchTarget
	confirmation restore.Confirmation
	identical    restore.Identical
}

// spent explains why the RestoreSession of a target would be refused: its confirmation names another object, an
// identical restore has used it, or such a restore has filled the target, but nothing proves that the data is still
// there. A batch that touches the applications around its targets learns that before it runs a preRestore hook or takes
// the pods of an application away. Any other one learns only whether somebody has confirmed another object: then nobody
// knows what else is mixed up, and no target is overwritten.
func (r *Reconciler) spent(
	ctx context.Context, b *v1alpha1.RestoreBatch, resolved []v1alpha1.ResolvedRestoreTarget, touches bool,
) (*v1alpha1.ResolvedError, error) {
	if !touches && !slices.ContainsFunc(b.Spec.Targets, func(t v1alpha1.RestoreBatchTarget) bool {
		return t.Confirm != ""
	}) {
		return nil, nil
	}
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, client.InNamespace(b.Namespace)); err != nil {
		return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	pods, ofSpec := r.podsOf(ctx, b.Namespace), restorebatch.SpecDigests(b)
	for i := range resolved {
		stamps := restorebatch.TargetDigests(ofSpec, b.Spec.Targets[i].Name)
		t := target{
			b.Spec.Targets[i], restorebatch.Confirmation(b, i, stamps),
			restorebatch.IdenticalTo(b, b.Spec.Targets[i].Name, stamps),
		}
		t.Target = resolved[i].Target
		if !touches && t.Confirm == "" {
			continue
		}
		refusal, err := r.spentTarget(ctx, b.Namespace, &t, claims.Items, pods)
		if err != nil {
			return nil, err
		}
		if refusal != nil && (touches || refusal.Reason == v1alpha1.ReasonConfirmationWrong) {
			return refusal, nil
		}
	}
	return nil, nil
}

// spentTarget is spent for one target.
func (r *Reconciler) spentTarget(
	ctx context.Context, namespace string, t *target, claims []corev1.PersistentVolumeClaim,
	pods func() ([]corev1.Pod, error),
) (*v1alpha1.ResolvedError, error) {
	refusal, err := r.filledByAnother(ctx, namespace, t, claims, pods)
	if refusal != nil || err != nil || t.Target == nil {
		return refusal, err
	}
	switch {
	case t.Target.IsDatabase():
		return r.spentDatabase(ctx, namespace, t, claims, pods)
	case slices.Contains(workloadKinds, t.Target.Kind):
		return r.spentWorkload(ctx, namespace, t, claims, pods)
	default:
		return r.spentClaim(ctx, t, claims)
	}
}

// spentClaim is spent for a target that is a claim.
func (r *Reconciler) spentClaim(
	ctx context.Context, t *target, claims []corev1.PersistentVolumeClaim,
) (*v1alpha1.ResolvedError, error) {
	i := slices.IndexFunc(claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == t.Target.Name })
	if i < 0 {
		return nil, nil
	}
	filled, err := read.Filled(ctx, r.APIReader, claims[i:i+1], t.identical)
	if err != nil || filled.All([]string{t.Target.Name}) {
		return nil, err
	}
	if wrong := t.confirmation.Wrong(t.Target, claims[i].UID); wrong != nil {
		return wrong, nil
	}
	return t.confirmation.Used("PersistentVolumeClaim "+t.Target.Name, claims[i].Annotations), nil
}

// spentWorkload is spent for a target that is a workload. Which claims it has is known only once its Snapshot is read.
// But no claim remembers the confirmation of another workload, because that names the UID.
func (r *Reconciler) spentWorkload(
	ctx context.Context, namespace string, t *target, claims []corev1.PersistentVolumeClaim,
	pods func() ([]corev1.Pod, error),
) (*v1alpha1.ResolvedError, error) {
	if t.Confirm == "" {
		return nil, nil
	}
	filled, err := r.filled(ctx, namespace, &t.RestoreBatchTarget, claims, pods, t.identical)
	if err != nil || filled {
		return nil, err
	}
	uid, _, err := r.marked(ctx, namespace, t, claims, pods)
	if uid == "" || err != nil {
		return nil, err // The RestoreSession waits for it.
	}
	if wrong := t.confirmation.Wrong(t.Target, uid); wrong != nil {
		return wrong, nil
	}
	for i := range claims {
		used := t.confirmation.Used("PersistentVolumeClaim "+claims[i].Name, claims[i].Annotations)
		if used != nil {
			return used, nil
		}
	}
	return nil, nil
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
	filled, mark, err := read.DatabaseFilled(ctx, r.APIReader, namespace, found, claims, t.identical)
	if err != nil || filled {
		return nil, err
	}
	if wrong := t.confirmation.Wrong(t.Target, found.UID()); wrong != nil || mark == nil {
		return wrong, nil
	}
	if t.Confirm == "" && read.DatabaseUnseen(found, mark, claims, t.identical) {
		return restorebatch.FilledUnseen(&t.RestoreBatchTarget, found.UID(), "Lease "+mark.Name), nil
	}
	return t.confirmation.Used("Lease "+mark.Name, mark.Annotations), nil
}
