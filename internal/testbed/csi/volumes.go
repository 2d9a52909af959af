package csi

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Volume creates a volume of the driver, and names it in a claim of LateClass that does not exist yet.
func Volume(
	t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim, edit ...func(*corev1.PersistentVolume),
) {
	t.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: claim.Namespace + "-" + claim.Name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: claim.Spec.AccessModes, StorageClassName: LateClass,
			PersistentVolumeSource: source(claim),
		},
	}
	for _, e := range edit {
		e(volume)
	}
	create(t, c, volume)
	claim.Spec.StorageClassName, claim.Spec.VolumeName = new(volume.Spec.StorageClassName), volume.Name
	claim.Status.Capacity = size
}

// Bind gives a claim a volume that the driver made for it.
func Bind(t testing.TB, c client.Client, namespace, name string) {
	t.Helper()
	bind(t, c, get(t, c, namespace, name), true)
}

// BindStatic gives a claim a volume that no provisioner made for it.
func BindStatic(t testing.TB, c client.Client, namespace, name string) {
	t.Helper()
	bind(t, c, get(t, c, namespace, name), false)
}

func get(t testing.TB, c client.Client, namespace, name string) *corev1.PersistentVolumeClaim {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, claim))
	return claim
}

// bind binds a claim, to a new volume if it names none.
func bind(t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim, provisioned bool) {
	t.Helper()
	if claim.Spec.VolumeName == "" {
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + string(claim.UID)},
			Spec: corev1.PersistentVolumeSpec{
				Capacity: claim.Spec.Resources.Requests, AccessModes: claim.Spec.AccessModes,
				VolumeMode: claim.Spec.VolumeMode, PersistentVolumeSource: source(claim),
			},
		}
		if provisioned {
			volume.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": DriverName}
		}
		create(t, c, volume)
		claim.Spec.VolumeName = volume.Name
		must(t, c.Update(t.Context(), claim))
	}
	claim.Status.Phase = corev1.ClaimBound
	must(t, c.Status().Update(t.Context(), claim))
}

// source returns what the volume of a claim is for the driver.
func source(claim *corev1.PersistentVolumeClaim) corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{
		CSI: &corev1.CSIPersistentVolumeSource{Driver: DriverName, VolumeHandle: claim.Namespace + "/" + claim.Name},
	}
}

// create creates an object of the whole cluster, and deletes it when the test ends.
func create(t testing.TB, c client.Client, o client.Object) {
	t.Helper()
	must(t, c.Create(t.Context(), o))
	t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), o) })
}
