package ledger

import (
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The phases of a Snapshot that went, in the message of a commit.
const (
	phaseRemoved = "Removed"
	// phaseUnknown means that nothing proves that its data was removed.
	phaseUnknown = "Unknown"
)

// PruneRecord returns the record of a Snapshot whose data was removed from its repository. Its condition Retained
// says which rule let it go. Somebody can have taken the finalizer off before the data was removed: then the record
// says that nobody knows. The record lies in the folder of the Repository, because the invoker can be long gone.
func PruneRecord(cluster string, snapshot *v1alpha1.Snapshot) ([]Record, error) {
	object := Object{
		Kind: v1alpha1.SnapshotKind, Namespace: snapshot.Namespace, Name: snapshot.Name, UID: snapshot.UID,
		Phase: phaseRemoved,
	}
	if let := apimeta.FindStatusCondition(snapshot.Status.Conditions, v1alpha1.ConditionRetained); let != nil {
		object.Reason = let.Reason
	}
	wiped := apimeta.FindStatusCondition(snapshot.Status.Conditions, v1alpha1.ConditionWiped)
	if wiped == nil || wiped.Status != metav1.ConditionTrue {
		object.Phase = phaseUnknown
		if wiped != nil {
			object.Reason = wiped.Reason
		}
	}
	folder := folderOf(v1alpha1.RepositoryKind, snapshot.Spec.Repository, prunedAt(snapshot))
	docs := []document{pruneDocument(cluster, snapshot)}
	return newRecord(recordPath(folder, &snapshot.ObjectMeta), object, docs)
}

// prunedAt returns when the Snapshot was deleted, which never changes.
func prunedAt(s *v1alpha1.Snapshot) time.Time {
	if s.DeletionTimestamp != nil {
		return s.DeletionTimestamp.Time
	}
	return s.CreationTimestamp.Time
}

// pruneDocument returns the document of the Snapshot with its deletion policy.
func pruneDocument(cluster string, s *v1alpha1.Snapshot) document {
	d := snapshotDocument(cluster, s)
	if spec, ok := d.Spec.(v1alpha1.SnapshotSpec); ok {
		spec.DeletionPolicy = s.Spec.DeletionPolicy
		d.Spec = spec
	}
	return d
}
