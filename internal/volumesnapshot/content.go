package volumesnapshot

import (
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"k8s.io/utils/ptr"
)

// ContentName is the name of the VolumeSnapshotContent that is made for a VolumeSnapshot of a claim, also before its status says so.
func ContentName(s *snapshotv1.VolumeSnapshot) string {
	if s.Status != nil && ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "") != "" {
		return *s.Status.BoundVolumeSnapshotContentName
	}
	return "snapcontent-" + string(s.UID)
}

// MadeFor says whether a content was made for a VolumeSnapshot, which may not know of it yet: it names it, and took a snapshot of a
// volume for it.
func MadeFor(s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) bool {
	ref := content.Spec.VolumeSnapshotRef
	return content.Name == ContentName(s) && content.Spec.Source.VolumeHandle != nil &&
		ref.Namespace == s.Namespace && ref.Name == s.Name && s.UID != "" && ref.UID == s.UID
}
