package csi

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The driver, and the classes that Classes creates.
const (
	// DriverName is the name of the driver.
	DriverName = "disk.example.com"
	// Class is a StorageClass that binds a claim at once, and LateClass one that binds it to its first consumer.
	Class     = "disk"
	LateClass = "disk-late"
	// OtherClass is a StorageClass of another driver.
	OtherClass = "other-disk"
	// SnapshotClass is the only VolumeSnapshotClass of the driver, and the default. Its deletionPolicy is Retain.
	SnapshotClass = "disk-snapshots"
)

// Classes creates the classes of the driver. They stay after the test, because several tests share them.
func Classes(t testing.TB, c client.Client) {
	t.Helper()
	late := storagev1.VolumeBindingWaitForFirstConsumer
	for _, o := range []client.Object{
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: Class}, Provisioner: DriverName},
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: LateClass}, Provisioner: DriverName, VolumeBindingMode: &late,
		},
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: OtherClass}, Provisioner: "other.example.com"},
		&snapshotv1.VolumeSnapshotClass{
			ObjectMeta: metav1.ObjectMeta{
				Name:        SnapshotClass,
				Annotations: map[string]string{"snapshot.storage.kubernetes.io/is-default-class": "true"},
			},
			Driver: DriverName, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
		},
	} {
		if err := c.Create(t.Context(), o); !apierrors.IsAlreadyExists(err) {
			must(t, err)
		}
	}
}
