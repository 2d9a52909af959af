package access

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
)

// only copies the given keys as far as they exist.
func only(data map[string][]byte, keys ...string) map[string][]byte {
	out := map[string][]byte{}
	for _, k := range keys {
		if v, ok := data[k]; ok {
			out[k] = v
		}
	}
	return out
}

// provide returns the name of a Secret in namespace that holds the keys: from itself or a copy of it that owner owns.
func provide(
	ctx context.Context, c client.Client, owner client.Object, namespace string, from *corev1.Secret, name string,
	keys ...string,
) (string, error) {
	if from.Namespace == namespace {
		return from.Name, nil
	}
	gvk, err := c.GroupVersionKindFor(owner)
	if err != nil {
		return "", fmt.Errorf("find kind of the owner of Secret %s: %w", name, err)
	}
	if owner.GetNamespace() != namespace {
		return "", fmt.Errorf("write Secret %s/%s: its owner is in namespace %s", namespace, name, owner.GetNamespace())
	}
	return name, writeCopy(ctx, c, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels:          map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)},
		},
		Type: corev1.SecretTypeOpaque,
		Data: only(from.Data, keys...),
	})
}

// writeCopy makes a copy, or brings it up to date. It replaces the copy of an earlier owner of the same name. A Secret
// that is none of them is somebody else's: it stays as it is, and the error says so. Each write counts for the very
// Secret that was read.
func writeCopy(ctx context.Context, c client.Client, want *corev1.Secret) error {
	key := client.ObjectKeyFromObject(want)
	var have corev1.Secret
	err := c.Get(ctx, key, &have)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get Secret %s: %w", key, err)
	}
	if err == nil {
		wants, has := metav1.GetControllerOf(want), metav1.GetControllerOf(&have)
		switch {
		case have.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn || has == nil ||
			has.APIVersion != wants.APIVersion || has.Kind != wants.Kind || has.Name != wants.Name:
			return refuse(v1alpha1.ReasonNameConflict,
				"Secret %s has the name of the copy of a credential, and was not made for %s %s: delete it, or keep "+
					"its content under another name", key, wants.Kind, wants.Name)
		case has.UID == wants.UID:
			return updateCopy(ctx, c, &have, want)
		}
		// The garbage collector has not come to it yet.
		if err := sweep.Delete(ctx, c, &have); err != nil {
			return err
		}
	}
	if err := c.Create(ctx, want, client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("create Secret %s: %w", key, err)
	}
	return nil
}

func updateCopy(ctx context.Context, c client.Client, have, want *corev1.Secret) error {
	before := have.DeepCopy()
	have.Data = want.Data
	maps.Copy(have.Labels, want.Labels)
	if equality.Semantic.DeepEqual(before, have) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.Patch(ctx, have, patch, client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("write Secret %s: %w", client.ObjectKeyFromObject(want), err)
	}
	return nil
}
