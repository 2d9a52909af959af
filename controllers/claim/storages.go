package claim

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// storagesIn returns the names of the BackupStorages that keep their backups in a claim. Such a storage serves only its
// own namespace: see access.Allowed.
func (r *Reconciler) storagesIn(ctx context.Context, claim *metav1.PartialObjectMetadata) ([]string, error) {
	var list v1alpha1.BackupStorageList
	if err := r.List(ctx, &list, client.InNamespace(claim.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BackupStorages: %w", err)
	}
	var out []string
	for i := range list.Items {
		local := list.Items[i].Spec.Storage.Local
		if local != nil && local.PersistentVolumeClaim != nil && local.PersistentVolumeClaim.ClaimName == claim.Name {
			out = append(out, list.Items[i].Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// tell says once, in an event of the claim, why Cairn does not let it go.
func (r *Reconciler) tell(claim *metav1.PartialObjectMetadata, storages []string, jobs []*batchv1.Job) {
	if before, _ := r.told.Swap(client.ObjectKeyFromObject(claim), claim.UID); before == claim.UID {
		return
	}
	var names []string
	for _, job := range jobs {
		names = append(names, job.Name)
	}
	r.Eventf(claim, corev1.EventTypeWarning, v1alpha1.ReasonInUse,
		"the backups of BackupStorage %s are in this claim, and go with it unless its PersistentVolume has the "+
			"reclaim policy Retain: set that now. Pods of ended runs hold the claim. Cairn does not delete their "+
			"Jobs (%s), but these pods also go when their node is removed, or their policy is deleted. Once the "+
			"reclaim policy is set, delete these Jobs to let the claim go",
		text.FirstFew(storages), text.FirstFew(names))
}
