package volumesnapshot

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// Kubernetes sets annotationProvisioned on volumes that a provisioner made, and annotationChosen on free volumes
	// that it chose for a claim.
	annotationProvisioned = "pv.kubernetes.io/provisioned-by"
	annotationChosen      = "pv.kubernetes.io/bound-by-controller"
	// clocksDiffer is how far the clocks of two API servers can differ.
	clocksDiffer = time.Minute
)

// SourceOf returns the name of the VolumeSnapshot that a claim is made from, or "".
func SourceOf(claim *corev1.PersistentVolumeClaim) string {
	if from := claim.Spec.DataSource; from != nil && from.Kind == Kind {
		return from.Name
	}
	return ""
}

// WrongVolume explains why the volume that a claim is bound to does not hold the data of the claim's source; "" if it
// does. Kubernetes looks for a free volume first, whatever source the claim has, and calls a provisioner only if no
// free volume fits. volume is nil if the named volume does not exist.
func WrongVolume(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) string {
	switch {
	case claim.Spec.VolumeName == "":
		return ""
	case volume == nil:
		return fmt.Sprintf("PersistentVolume %s of PersistentVolumeClaim %s is gone", claim.Spec.VolumeName, claim.Name)
	case volume.Annotations[annotationProvisioned] == "" || volume.Annotations[annotationChosen] != "",
		volume.CreationTimestamp.Add(clocksDiffer).Before(claim.CreationTimestamp.Time):
		return fmt.Sprintf(
			"Kubernetes gave PersistentVolumeClaim %s the free PersistentVolume %s in place of a new one, which "+
				"holds other data: "+
				"delete the claim, and keep such volumes from it by another storageClassName or a claimRef", claim.Name,
			volume.Name)
	}
	return ""
}
