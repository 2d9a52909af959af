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

// ContentName returns the name of the VolumeSnapshotContent that is made for a VolumeSnapshot of a claim, even before
// its status has the name.
func ContentName(s *snapshotv1.VolumeSnapshot) string {
	if s.Status != nil && ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "") != "" {
		return *s.Status.BoundVolumeSnapshotContentName
	}
	return "snapcontent-" + string(s.UID)
}

// BorrowedContent reports whether the restore with this UID made the content from a snapshot of another namespace, for
// as long as it runs.
func BorrowedContent(content *snapshotv1.VolumeSnapshotContent, restore types.UID) bool {
	return lentTo(content, restore) && content.Spec.Source.SnapshotHandle != nil &&
		content.Spec.VolumeSnapshotRef.Name == content.Name
}

// Borrowed reports whether a VolumeSnapshot is bound to a content for which BorrowedContent holds.
func Borrowed(s *snapshotv1.VolumeSnapshot, restore types.UID) bool {
	return lentTo(s, restore) && ptr.Deref(s.Spec.Source.VolumeSnapshotContentName, "") == s.Name
}

// lentTo reports whether the metadata of an object are those of an object that a restore borrows.
func lentTo(o metav1.Object, restore types.UID) bool {
	return restore != "" && strings.HasPrefix(o.GetName(), policy.ImportPrefix) &&
		o.GetAnnotations()[v1alpha1.AnnotationRestoreSession] == string(restore) &&
		o.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn &&
		o.GetLabels()[v1alpha1.LabelRestoreSession] != ""
}

// MadeFor reports whether a content was made for a VolumeSnapshot, which can be unaware of it: the content names the
// VolumeSnapshot and comes from a volume.
func MadeFor(s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) bool {
	ref := content.Spec.VolumeSnapshotRef
	return content.Name == ContentName(s) && content.Spec.Source.VolumeHandle != nil &&
		ref.Namespace == s.Namespace && ref.Name == s.Name && s.UID != "" && ref.UID == s.UID
}

// annotationBeingDeleted is how the snapshot controller marks the content of a VolumeSnapshot that is being deleted.
// Only with this mark does a CSI driver delete the data of a content that is bound.
const annotationBeingDeleted = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"

// Goes reports whether the data goes as soon as the content is deleted: its VolumeSnapshot has been deleted, and its
// deletionPolicy is Delete.
func Goes(content *snapshotv1.VolumeSnapshotContent) bool {
	_, marked := content.Annotations[annotationBeingDeleted]
	return marked && content.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete
}
