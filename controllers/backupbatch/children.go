package backupbatch

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/apply"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
)

// ensureChildren makes the batch's children what policy.Expand says, removes those of targets that are gone, and gives the
// state of each target. What they depend on is added to dependencies. What goes wrong with one child holds up no other.
func (r *Reconciler) ensureChildren(ctx context.Context, batch *v1alpha1.BackupBatch, dependencies *policy.Dependencies) ([]v1alpha1.BatchTargetStatus, error) {
	children, err := policy.Expand(batch)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(children))
	targets := make([]v1alpha1.BatchTargetStatus, len(children))
	var errs []error
	for i := range children {
		child := &children[i]
		wanted[child.Name] = true
		child.OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(batch, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind)),
		}
		target := batch.Spec.Targets[i]
		targets[i] = v1alpha1.BatchTargetStatus{Name: target.Name, AppRef: target.AppRef, Configuration: child.Name}
		actual, err := r.ensureChild(ctx, batch, child)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		targets[i].Phase, targets[i].Reason = stateOf(actual)
		if actual != nil {
			dependencies.Merge(actual.Status.Dependencies)
		}
	}
	return targets, kerrors.NewAggregate(append(errs, r.removeOthers(ctx, batch, wanted)))
}

// ensureChild makes one child what it should be. It is nil where an object that is not the batch's has the child's name;
// that one is left alone.
func (r *Reconciler) ensureChild(ctx context.Context, batch *v1alpha1.BackupBatch, wanted *v1alpha1.BackupConfiguration) (*v1alpha1.BackupConfiguration, error) {
	actual := &v1alpha1.BackupConfiguration{}
	err := lifecycle.Sure{Reader: r.Client, Live: r.APIReader}.Get(ctx, client.ObjectKeyFromObject(wanted), actual)
	reason, message := v1alpha1.ReasonChildApplied, "made BackupConfiguration %s"
	digest := wanted.Annotations[v1alpha1.AnnotationSpecDigest]
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("get BackupConfiguration %s: %w", wanted.Name, err)
	case ownedByEarlier(actual, batch):
		return actual, nil // The garbage collector is about to remove it. When it is gone it is made again.
	case !metav1.IsControlledBy(actual, batch) && !orphan(actual, wanted):
		return nil, nil
	case !actual.DeletionTimestamp.IsZero():
		return actual, nil
	case !apply.MetadataDiffers(actual, wanted) && policy.Digest(&actual.Spec) == digest:
		return actual, nil
	default:
		wanted.UID = actual.UID
		message = "changed BackupConfiguration %s"
		if actual.Annotations[v1alpha1.AnnotationSpecDigest] == digest {
			reason, message = v1alpha1.ReasonChildReverted, "reverted BackupConfiguration %s: somebody edited it, edit the batch instead"
		}
	}

	spec := wanted.Spec.DeepCopy()
	if err := apply.Object(ctx, r.Client, r.FieldManager, wanted); err != nil {
		return nil, err
	}
	// What somebody added beside our fields is theirs, and an apply does not remove it.
	if policy.Digest(&wanted.Spec) != digest {
		wanted.Spec = *spec
		if err := r.Update(ctx, wanted, client.FieldOwner(r.FieldManager)); err != nil {
			return nil, fmt.Errorf("revert BackupConfiguration %s: %w", wanted.Name, err)
		}
	}
	r.Eventf(batch, corev1.EventTypeNormal, reason, message, wanted.Name)
	return wanted, nil
}

// ownedByEarlier says whether the child is that of a batch of this name that was deleted before this one was made.
func ownedByEarlier(child *v1alpha1.BackupConfiguration, batch *v1alpha1.BackupBatch) bool {
	owner := metav1.GetControllerOf(child)
	return owner != nil && owner.Kind == v1alpha1.BackupBatchKind && owner.Name == batch.Name && owner.UID != batch.UID
}

// orphan says whether the child was made by a batch of this name and lost its owner, by an edit or by a deletion that spares
// what depends.
func orphan(child, wanted *v1alpha1.BackupConfiguration) bool {
	return metav1.GetControllerOf(child) == nil && child.Annotations[v1alpha1.AnnotationSpecDigest] != "" &&
		child.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn &&
		child.Labels[v1alpha1.LabelBatch] == wanted.Labels[v1alpha1.LabelBatch]
}

// removeOthers deletes the batch's children that are not wanted. Their Repositories and data stay.
func (r *Reconciler) removeOthers(ctx context.Context, batch *v1alpha1.BackupBatch, wanted map[string]bool) error {
	var list v1alpha1.BackupConfigurationList
	if err := r.List(ctx, &list, client.InNamespace(batch.Namespace), client.MatchingFields{indexOwner: string(batch.UID)}); err != nil {
		return fmt.Errorf("list the children of %s: %w", batch.Name, err)
	}
	for i := range list.Items {
		child := &list.Items[i]
		if wanted[child.Name] || !child.DeletionTimestamp.IsZero() || !metav1.IsControlledBy(child, batch) {
			continue
		}
		if err := r.Delete(ctx, child, client.Preconditions{UID: &child.UID}); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("delete BackupConfiguration %s: %w", child.Name, err)
		}
		r.Eventf(batch, corev1.EventTypeNormal, v1alpha1.ReasonChildRemoved,
			"removed BackupConfiguration %s: its target has left the batch, its Repositories and their data stay", child.Name)
	}
	return nil
}

// stateOf is the phase of a target and the reason why it is not ready. A child's condition is written before its phase: where
// they differ, the phase is on its way.
func stateOf(child *v1alpha1.BackupConfiguration) (phase, reason string) {
	switch {
	case child == nil:
		return v1alpha1.PhaseInvalid, v1alpha1.ReasonNameConflict
	case !child.DeletionTimestamp.IsZero(), child.Status.ObservedGeneration != child.Generation, child.Status.Phase == "":
		return v1alpha1.PhaseNotReady, v1alpha1.ReasonProgressing
	case conditions.IsReady(child) != (child.Status.Phase == v1alpha1.PhaseReady):
		return v1alpha1.PhaseNotReady, v1alpha1.ReasonProgressing
	case conditions.IsReady(child):
		return v1alpha1.PhaseReady, ""
	default:
		return child.Status.Phase, conditions.GetReason(child, meta.ReadyCondition)
	}
}
