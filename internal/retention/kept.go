package retention

import (
	"github.com/fluxcd/pkg/runtime/conditions"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Kept is why the data of a deleted object stays whatever its deletionPolicy is. Empty means that the deletionPolicy
// decides.
type Kept string

// The values of Kept.
const (
	// GivenUp means that somebody released the object with AnnotationGiveUp.
	GivenUp Kept = "its removal was given up"
	// NamespaceGoes means that the namespace is being deleted: then Cairn never removes data.
	NamespaceGoes Kept = "the namespace is being deleted"
	// KindGoes means the same for all objects of a kind, in every namespace, for example when Cairn is uninstalled.
	KindGoes Kept = "the CustomResourceDefinition of its kind is being deleted"
	// RepositoryGone means that no Repository says any more where the data is.
	RepositoryGone Kept = "its Repository is gone"
	// Unasked means that the deletionPolicy no longer asks for a removal.
	Unasked Kept = "its deletionPolicy is not WipeOut"
)

// IsGivenUp reports whether somebody gave up the removal of an object's data. The annotation names the UID, so it does
// not count for an object that was made again from Git or from an export.
func IsGivenUp(o metav1.Object) bool {
	return o.GetUID() != "" && o.GetAnnotations()[v1alpha1.AnnotationGiveUp] == string(o.GetUID())
}

// GiveUp returns the annotation that gives up the removal of an object's data, as kubectl takes it.
func GiveUp(o metav1.Object) string { return v1alpha1.AnnotationGiveUp + "=" + string(o.GetUID()) }

// HowToGiveUp ends the message of a removal that does not finish.
func HowToGiveUp(o metav1.Object) string {
	return ". Cairn tries again; to release the object and leave its data, annotate it with " + GiveUp(o)
}

// TakenAlong reports whether the deletion was meant for something else, which takes the object along.
func (k Kept) TakenAlong() bool { return k == NamespaceGoes || k == KindGoes }

// Owns reports whether the data of a Snapshot lies in the directory of this Repository: another one can have had the
// name when the Snapshot was made.
func Owns(r *v1alpha1.Repository, s *v1alpha1.Snapshot) bool {
	owner := metav1.GetControllerOf(s)
	return owner == nil || owner.Kind != v1alpha1.RepositoryKind || owner.UID == r.UID
}

// maybeWiped ends messages about what a Repository has left: its wipe takes the Snapshots along without a mark on them.
const maybeWiped = ", so a part of it can be gone if Cairn had begun to remove the data of the Repository"

// Message says what becomes of the data in a backend, or of VolumeSnapshots, that Cairn does not remove.
func (k Kept) Message(volumeSnapshots bool) string {
	message := "the VolumeSnapshots stay: " + string(k)
	switch {
	case !volumeSnapshots:
		message = "the data stays in the backend: " + string(k)
	case k == NamespaceGoes:
		return "Cairn removes nothing: the namespace is being deleted, and its VolumeSnapshots with it; " +
			"data stays if its VolumeSnapshotContent has deletionPolicy Retain"
	}
	if k == RepositoryGone {
		message += maybeWiped
	}
	return message
}

// RemovalBegan reports whether a part of the data of the object with these conditions can have been removed.
func RemovalBegan(conditions []metav1.Condition) bool {
	return apimeta.IsStatusConditionTrue(conditions, v1alpha1.ConditionRemovalBegan)
}

// MarkRemovalBegan writes to an object that the removal of its data begins, and reports whether it did. The caller
// writes the status before anything can be gone. Nothing takes the mark back.
func MarkRemovalBegan(o conditions.Setter) bool {
	if conditions.IsTrue(o, v1alpha1.ConditionRemovalBegan) {
		return false
	}
	conditions.MarkTrue(o, v1alpha1.ConditionRemovalBegan, v1alpha1.ReasonProgressing,
		"the removal of the data has begun, and a part of it can be gone")
	return true
}

// Partly ends a message about data that stays, if a part of it can have been removed.
func Partly(message string, conditions []metav1.Condition) string {
	if RemovalBegan(conditions) {
		return message + ". But its removal had begun, and a part of it can be gone"
	}
	return message
}
