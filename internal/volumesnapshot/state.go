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

// ErrorGrace is how long an error that the CSI driver reports may still go away by itself: the snapshotter tries again.
const ErrorGrace = time.Minute

// Ready says whether a volume can be made of a VolumeSnapshot, as its status says.
func Ready(s *snapshotv1.VolumeSnapshot) bool {
	return s.DeletionTimestamp == nil && s.Status != nil && ptr.Deref(s.Status.ReadyToUse, false) && s.Status.Error == nil
}

// Failure is what the CSI driver says went wrong, and when; "" while nothing did.
func Failure(s *snapshotv1.VolumeSnapshot) (message string, at time.Time) {
	if s.Status == nil || s.Status.Error == nil {
		return "", time.Time{}
	}
	if t := s.Status.Error.Time; t != nil {
		at = t.Time
	}
	return cmp.Or(ptr.Deref(s.Status.Error.Message, ""), "the CSI driver reports an error without saying which"), at
}

// Belongs says whether a VolumeSnapshot is the one that a Snapshot's Job made: it has Cairn's label, the name of the Snapshot as a
// label, and its UID as an annotation. labelValue is policy.LabelValue of the Snapshot's name.
func Belongs(s *snapshotv1.VolumeSnapshot, labelValue string, uid types.UID) bool {
	return s.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn && s.Labels[v1alpha1.LabelSnapshot] == labelValue &&
		uid != "" && s.Annotations[v1alpha1.AnnotationSnapshotUID] == string(uid)
}

// New is the VolumeSnapshot that a Job makes of a claim.
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

// The kinds of snapshot.storage.k8s.io and their resources.
const (
	Kind             = "VolumeSnapshot"
	Resource         = "volumesnapshots"
	ContentKind      = "VolumeSnapshotContent"
	ClassKind        = "VolumeSnapshotClass"
	claimDefaultMode = corev1.PersistentVolumeFilesystem
)

// Stats are what a Snapshot keeps of a VolumeSnapshot that is ready, its content and the claim that it is of. claim may be nil.
func Stats(s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent, claim *corev1.PersistentVolumeClaim, contentPolicy string) v1alpha1.VolumeSnapshotterStats {
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
		out.VolumeSnapshotContentName, out.Driver, out.DeletionPolicy = content.Name, content.Spec.Driver, string(content.Spec.DeletionPolicy)
		out.SnapshotHandle = Handle(content)
	}
	if claim != nil {
		out.StorageClassName = ptr.Deref(claim.Spec.StorageClassName, "")
		out.AccessModes = claim.Spec.AccessModes
		out.VolumeMode = ptr.Deref(claim.Spec.VolumeMode, claimDefaultMode)
	}
	return out
}

// Handle is what the storage system calls the snapshot of a content, "" where it does not say yet.
func Handle(content *snapshotv1.VolumeSnapshotContent) string {
	if content.Status != nil && ptr.Deref(content.Status.SnapshotHandle, "") != "" {
		return *content.Status.SnapshotHandle
	}
	return ptr.Deref(content.Spec.Source.SnapshotHandle, "")
}

// TakenAgain says why a content is not the snapshot that was backed up; "" where it is, as far as both say. The snapshot controller makes
// a content that somebody removed anew under its old name, and a driver whose snapshot is gone then takes another, of what the volume
// holds by now: nothing of the VolumeSnapshot itself tells.
func TakenAgain(was v1alpha1.VolumeSnapshotterStats, content *snapshotv1.VolumeSnapshotContent) string {
	is := Handle(content)
	if was.SnapshotHandle != "" && is != "" && is != was.SnapshotHandle {
		return fmt.Sprintf("the storage system calls it %s, and what was backed up is %s", is, was.SnapshotHandle)
	}
	if was.VolumeSnapshotTime == nil || content.Status == nil || content.Status.CreationTime == nil {
		return ""
	}
	if at := time.Unix(0, *content.Status.CreationTime); at.Unix() != was.VolumeSnapshotTime.Unix() {
		return fmt.Sprintf("it was taken at %s, and what was backed up at %s", at.UTC().Format(time.RFC3339), was.VolumeSnapshotTime.UTC().Format(time.RFC3339))
	}
	return ""
}

// Bound says whether a content is that of a VolumeSnapshot: both name each other.
func Bound(s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) bool {
	ref := content.Spec.VolumeSnapshotRef
	return s.Status != nil && ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "") == content.Name &&
		ref.Namespace == s.Namespace && ref.Name == s.Name && ref.UID == s.UID
}
