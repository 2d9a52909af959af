package sessiontest

import (
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
)

// VolumeSnapshotComponent returns the component of a Snapshot that is kept as the VolumeSnapshot of a claim.
func VolumeSnapshotComponent(s *snapshotv1.VolumeSnapshot,
	content *snapshotv1.VolumeSnapshotContent,
) v1alpha1.Component {
	return v1alpha1.Component{
		Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverVolumeSnapshotter, ID: string(s.UID),
		VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{
			PVCName: *s.Spec.Source.PersistentVolumeClaimName, VolumeSnapshotName: s.Name,
			VolumeSnapshotContentName: content.Name, Driver: content.Spec.Driver,
			SnapshotHandle: *content.Status.SnapshotHandle, RestoreSize: s.Status.RestoreSize.Value(),
			StorageClassName: csi.Class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode:       corev1.PersistentVolumeFilesystem,
		}},
	}
}
