package restorebatch

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// filledByAnother is spent for a target that nobody has confirmed, and that an identical restore of another name has
// filled, or one of this name for which nobody vouches any more. A mover would find data there, unless somebody has
// removed it. Without a target, the restore would make claims that exist.
func (r *Reconciler) filledByAnother(
	ctx context.Context, namespace string, t *target, claims []corev1.PersistentVolumeClaim,
	pods func() ([]corev1.Pod, error),
) (*v1alpha1.ResolvedError, error) {
	if t.Confirm != "" {
		return nil, nil
	}
	filled, err := r.filled(ctx, namespace, &t.RestoreBatchTarget, claims, pods, t.identical.OfAnyName())
	if err != nil || !filled && !disowned(t, claims) {
		return nil, err
	}
	if own, err := r.filled(ctx, namespace, &t.RestoreBatchTarget, claims, pods, t.identical); own || err != nil {
		return nil, err
	}
	if t.Target == nil {
		return restorebatch.ClaimsExist(t.Name), nil
	}
	uid, marked, err := r.marked(ctx, namespace, t, claims, pods)
	if uid == "" || err != nil {
		return nil, err // The RestoreSession waits for a target that is not there.
	}
	return restorebatch.FilledUnseen(&t.RestoreBatchTarget, uid, marked), nil
}

// disowned reports whether a claim can hold what an identical restore wrote, for which nobody vouches any more.
func disowned(t *target, claims []corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(claims, func(c corev1.PersistentVolumeClaim) bool {
		named := t.Target == nil || t.Target.Kind != v1alpha1.KindPersistentVolumeClaim || t.Target.Name == c.Name
		return named && restore.Disowned(c.Annotations, t.identical)
	})
}

// marked returns the UID of a target, or "" if it does not exist, and the name of what has its stamp.
func (r *Reconciler) marked(
	ctx context.Context, namespace string, t *target, claims []corev1.PersistentVolumeClaim,
	pods func() ([]corev1.Pod, error),
) (types.UID, string, error) {
	if t.Target.IsDatabase() {
		running, err := pods()
		if err != nil {
			return "", "", err
		}
		found, refusal, err := read.FindDatabase(ctx, r.APIReader, namespace, *t.Target,
			catalog.RestoreParams(t.Addon), running)
		if refusal != nil || err != nil {
			return "", "", err
		}
		return found.UID(), "Lease " + read.DatabaseMarkName(found.UID()), nil
	}
	if t.Target.Kind == v1alpha1.KindPersistentVolumeClaim {
		i := slices.IndexFunc(claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == t.Target.Name })
		if i < 0 {
			return "", "", nil
		}
		return claims[i].UID, "PersistentVolumeClaim " + t.Target.Name, nil
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(t.Target.Kind))
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: namespace, Name: t.Target.Name}, object)
	if apierrors.IsNotFound(err) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("get %s: %w", t.Target, err)
	}
	return object.UID, "its PersistentVolumeClaims", nil
}
