package volumesnapshot

import (
	"cmp"
	"fmt"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ErrorGrace is how long an error of the CSI driver can take to go away by itself: the snapshotter tries again.
const ErrorGrace = time.Minute

// Ready reports whether a volume can be made from a VolumeSnapshot, according to its status.
func Ready(s *snapshotv1.VolumeSnapshot) bool {
	return s.DeletionTimestamp == nil && s.Status != nil && ptr.Deref(s.Status.ReadyToUse, false) &&
		s.Status.Error == nil
}

// TakenAt returns of which moment a VolumeSnapshot is, zero while it is not taken. From then on it does not change, but
// it may not be ready yet.
func TakenAt(s *snapshotv1.VolumeSnapshot) time.Time {
	if s.Status == nil || s.Status.CreationTime == nil {
		return time.Time{}
	}
	return s.Status.CreationTime.Time
}

// Failure returns the error that the CSI driver reports and its time; "" if there is none.
func Failure(s *snapshotv1.VolumeSnapshot) (message string, at time.Time) {
	if s.Status == nil || s.Status.Error == nil {
		return "", time.Time{}
	}
	if t := s.Status.Error.Time; t != nil {
		at = t.Time
	}
	return cmp.Or(ptr.Deref(s.Status.Error.Message, ""), "the CSI driver reports an error without a message"), at
}

// MadeBySnapshotJob reports whether a Snapshot's Job made the VolumeSnapshot: it has Cairn's label, the name of the
// Snapshot as a label, and the UID of the Snapshot as an annotation. labelValue is policy.LabelValue of the Snapshot's
// name.
func MadeBySnapshotJob(s *snapshotv1.VolumeSnapshot, labelValue string, uid types.UID) bool {
	return s.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn &&
		s.Labels[v1alpha1.LabelSnapshot] == labelValue &&
		uid != "" && s.Annotations[v1alpha1.AnnotationSnapshotUID] == string(uid)
}

// New returns the VolumeSnapshot that a Job makes of a claim.
func New(namespace, name, claim, class string, labels, annotations map[string]string) *snapshotv1.VolumeSnapshot {
	return &snapshotv1.VolumeSnapshot{
		TypeMeta:   metav1.TypeMeta{APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: Kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Annotations: annotations},
		Spec: snapshotv1.VolumeSnapshotSpec{
			Source:                  snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: &claim},
			VolumeSnapshotClassName: &class,
		},
	}
}

// Kinds of snapshot.storage.k8s.io and the resource of VolumeSnapshots.
const (
	Kind             = "VolumeSnapshot"
	Resource         = "volumesnapshots"
	contentKind      = "VolumeSnapshotContent"
	classKind        = "VolumeSnapshotClass"
	claimDefaultMode = corev1.PersistentVolumeFilesystem
)

// Stats returns what a Snapshot records of a ready VolumeSnapshot, its content and its claim. content and claim can be
// nil.
func Stats(
	s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent, claim *corev1.PersistentVolumeClaim,
	contentPolicy string,
) v1alpha1.VolumeSnapshotterStats {
	out := v1alpha1.VolumeSnapshotterStats{
		PVCName: ptr.Deref(s.Spec.Source.PersistentVolumeClaimName, ""), VolumeSnapshotName: s.Name,
		VolumeSnapshotClassName: ptr.Deref(s.Spec.VolumeSnapshotClassName, ""), ContentDeletionPolicy: contentPolicy,
	}
	if s.Status != nil {
		out.VolumeSnapshotTime = s.Status.CreationTime.DeepCopy()
		out.VolumeSnapshotContentName = ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "")
		if s.Status.RestoreSize != nil {
			out.RestoreSize = s.Status.RestoreSize.Value()
		}
	}
	if content != nil {
		out.VolumeSnapshotContentName, out.Driver, out.DeletionPolicy = content.Name, content.Spec.Driver,
			string(content.Spec.DeletionPolicy)
		out.SnapshotHandle = Handle(content)
	}
	if claim != nil {
		out.StorageClassName = ptr.Deref(claim.Spec.StorageClassName, "")
		out.AccessModes = claim.Spec.AccessModes
		out.VolumeMode = ptr.Deref(claim.Spec.VolumeMode, claimDefaultMode)
	}
	return out
}

// Handle returns the name that the storage system gave to the snapshot of a content; "" if it is not known yet.
func Handle(content *snapshotv1.VolumeSnapshotContent) string {
	if content.Status != nil && ptr.Deref(content.Status.SnapshotHandle, "") != "" {
		return *content.Status.SnapshotHandle
	}
	return ptr.Deref(content.Spec.Source.SnapshotHandle, "")
}

// TakenAgain explains why a content is not the snapshot that was backed up; "" if the two match as far as they can be
// compared. When somebody removes a content, the snapshot controller creates it again under its old name, and a driver
// whose snapshot is gone takes a new one of the volume's present data. The VolumeSnapshot itself does not show that.
func TakenAgain(was v1alpha1.VolumeSnapshotterStats, content *snapshotv1.VolumeSnapshotContent) string {
	is := Handle(content)
	if was.SnapshotHandle != "" && is != "" && is != was.SnapshotHandle {
		return fmt.Sprintf("the storage system calls it %s, but the backup is %s", is, was.SnapshotHandle)
	}
	if was.VolumeSnapshotTime == nil || content.Status == nil || content.Status.CreationTime == nil {
		return ""
	}
	if at := time.Unix(0, *content.Status.CreationTime); at.Unix() != was.VolumeSnapshotTime.Unix() {
		return fmt.Sprintf("it was taken at %s, but the backup at %s", at.UTC().Format(time.RFC3339),
			was.VolumeSnapshotTime.UTC().Format(time.RFC3339))
	}
	return ""
}

// Bound reports whether a content and a VolumeSnapshot belong together: both name each other.
func Bound(s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) bool {
	ref := content.Spec.VolumeSnapshotRef
	return s.Status != nil && ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "") == content.Name &&
		ref.Namespace == s.Namespace && ref.Name == s.Name && ref.UID == s.UID
}
