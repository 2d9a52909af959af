package volumesnapshot

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// annotationProvisioned is on volumes that a provisioner made, and annotationChosen on those that Kubernetes found for a claim among the
	// free ones (from Kubernetes).
	annotationProvisioned = "pv.kubernetes.io/provisioned-by"
	annotationChosen      = "pv.kubernetes.io/bound-by-controller"
	// clocksDiffer is by how much the clocks of two API servers may differ.
	clocksDiffer = time.Minute
)

// SourceOf is the name of the VolumeSnapshot that a claim is made of; "" where it is made of none.
func SourceOf(claim *corev1.PersistentVolumeClaim) string {
	if from := claim.Spec.DataSource; from != nil && from.Kind == Kind {
		return from.Name
	}
	return ""
}

// WrongVolume says why the volume that a claim is bound to does not hold what the claim names as its source; "" where it does.
// Kubernetes looks for a free volume first, whatever source a claim has, and calls a provisioner only if it finds none that fits. volume
// is nil where there is none of its name.
func WrongVolume(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) string {
	switch {
	case claim.Spec.VolumeName == "":
		return ""
	case volume == nil:
		return fmt.Sprintf("PersistentVolume %s of PersistentVolumeClaim %s is gone", claim.Spec.VolumeName, claim.Name)
	case volume.Annotations[annotationProvisioned] == "" || volume.Annotations[annotationChosen] != "",
		volume.CreationTimestamp.Add(clocksDiffer).Before(claim.CreationTimestamp.Time):
		return fmt.Sprintf("Kubernetes gave PersistentVolumeClaim %s the free PersistentVolume %s in place of a new one, which holds other data: "+
			"delete the claim, and keep such volumes from it by another storageClassName or a claimRef", claim.Name, volume.Name)
	}
	return ""
}
