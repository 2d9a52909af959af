package destination

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
)

// Replaces reports whether a claim must still be deleted for a new claim of the same name. claim can be nil.
func Replaces(v *v1alpha1.ResolvedRestoreVolume, claim *corev1.PersistentVolumeClaim) bool {
	return claim != nil && claim.DeletionTimestamp == nil && claim.UID == v.Provision.Replaces
}

// WhyNotMakeable explains why the claim of a resolved volume can't be made from its VolumeSnapshot now. Nil means that
// it can. class is its StorageClass, nil where that no longer exists.
func WhyNotMakeable(
	v *v1alpha1.ResolvedRestoreVolume, found SnapshotState, class *storagev1.StorageClass,
) *v1alpha1.ResolvedError {
	p := PlannedClaim{
		Component: v.Component, Source: v.Source, Claim: v.ClaimName, VolumeSnapshot: v.Provision.VolumeSnapshot,
	}
	if v.Provision.Import == nil {
		p.UID = types.UID(v.ID)
	}
	if err := usableSnapshot(p, found); err != nil {
		return err
	}
	name := ptr.Deref(v.Provision.StorageClassName, "")
	switch driver := found.Content.Spec.Driver; {
	case class == nil:
		return workload.Fail(v1alpha1.ReasonStorageClassNotFound, "there is no StorageClass %s any more", name)
	case class.Provisioner != driver:
		return workload.Fail(v1alpha1.ReasonInvalidParameters,
			"StorageClass %s now has driver %s, which can't read VolumeSnapshot %s of driver %s", name,
			class.Provisioner, p.VolumeSnapshot, driver)
	}
	if least := found.Snapshot.Status.RestoreSize; least != nil && v.Provision.Storage.Cmp(*least) < 0 {
		return workload.Fail(v1alpha1.ReasonVolumeTooSmall,
			"VolumeSnapshot %s now needs a volume of %s, but the claim asks for %s", p.VolumeSnapshot, least.String(),
			v.Provision.Storage.String())
	}
	return nil
}

// CheckQuotas refuses new claims for which a ResourceQuota has no room after the old claims are deleted. It counts as
// Kubernetes does, and treats a quota with scopes as if it counted all claims.
func CheckQuotas(quotas []corev1.ResourceQuota, goes, comes []*corev1.PersistentVolumeClaim) *v1alpha1.ResolvedError {
	freed, wanted := quotaUse(goes), quotaUse(comes)
	sorted := slices.SortedFunc(slices.Values(quotas), func(a, b corev1.ResourceQuota) int {
		return cmp.Compare(a.Name, b.Name)
	})
	for i := range sorted {
		q := &sorted[i]
		for name, hard := range q.Status.Hard {
			want, counts := wanted[name]
			if !counts {
				continue
			}
			use := q.Status.Used[name].DeepCopy()
			use.Sub(freed[name])
			use.Add(want)
			if use.Cmp(hard) > 0 {
				return workload.Fail(v1alpha1.ReasonQuotaExceeded,
					"ResourceQuota %s has no room for the new PersistentVolumeClaims: %s would be %s of %s. The old "+
						"ones are kept: raise the quota, or free some of it",
					q.Name, name, use.String(), hard.String())
			}
		}
	}
	return nil
}

// quotaUse returns what claims count in quotas.
func quotaUse(claims []*corev1.PersistentVolumeClaim) map[corev1.ResourceName]resource.Quantity {
	out := map[corev1.ResourceName]resource.Quantity{}
	add := func(name corev1.ResourceName, amount resource.Quantity) {
		sum := out[name]
		sum.Add(amount)
		out[name] = sum
	}
	one := *resource.NewQuantity(1, resource.DecimalSI)
	for _, claim := range claims {
		size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		add(corev1.ResourcePersistentVolumeClaims, one)
		add("count/persistentvolumeclaims", one)
		add(corev1.ResourceRequestsStorage, size)
		named := ptr.Deref(claim.Spec.StorageClassName, "")
		if class := cmp.Or(claim.Annotations[corev1.BetaStorageClassAnnotation], named); class != "" {
			of := corev1.ResourceName(class + ".storageclass.storage.k8s.io/")
			add(of+corev1.ResourcePersistentVolumeClaims, one)
			add(of+corev1.ResourceRequestsStorage, size)
		}
	}
	return out
}
