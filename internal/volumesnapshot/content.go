package volumesnapshot

import (
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// ContentName is the name of the VolumeSnapshotContent that is made for a VolumeSnapshot of a claim, also before its status says so.
func ContentName(s *snapshotv1.VolumeSnapshot) string {
	if s.Status != nil && ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "") != "" {
		return *s.Status.BoundVolumeSnapshotContentName
	}
	return "snapcontent-" + string(s.UID)
}

// LentContent says whether a content is what the restore of this UID made of a snapshot of another namespace for its own time.
func LentContent(content *snapshotv1.VolumeSnapshotContent, restore types.UID) bool {
	return lentTo(content, restore) && content.Spec.Source.SnapshotHandle != nil && content.Spec.VolumeSnapshotRef.Name == content.Name
}

// Lent says whether a VolumeSnapshot is bound to such a content.
func Lent(s *snapshotv1.VolumeSnapshot, restore types.UID) bool {
	return lentTo(s, restore) && ptr.Deref(s.Spec.Source.VolumeSnapshotContentName, "") == s.Name
}

// lentTo says whether the metadata of an object are those of what a restore borrows.
func lentTo(o metav1.Object, restore types.UID) bool {
	return restore != "" && strings.HasPrefix(o.GetName(), policy.ImportPrefix) && o.GetAnnotations()[v1alpha1.AnnotationRestoreSession] == string(restore) &&
		o.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn && o.GetLabels()[v1alpha1.LabelRestoreSession] != ""
}

// MadeFor says whether a content was made for a VolumeSnapshot, which may not know of it yet: it names it, and took a snapshot of a
// volume for it.
func MadeFor(s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) bool {
	ref := content.Spec.VolumeSnapshotRef
	return content.Name == ContentName(s) && content.Spec.Source.VolumeHandle != nil &&
		ref.Namespace == s.Namespace && ref.Name == s.Name && s.UID != "" && ref.UID == s.UID
}
