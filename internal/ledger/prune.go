package ledger

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// phaseRemoved is the phase of a Snapshot whose data was removed, in the message of a commit.
const phaseRemoved = "Removed"

// PruneRecord returns the record of a Snapshot whose data was removed from its repository. Its condition Retained
// says which rule let it go. The record lies in the folder of the Repository, because the invoker can be long gone.
func PruneRecord(cluster string, snapshot *v1alpha1.Snapshot) ([]Record, error) {
	object := Object{
		Kind: v1alpha1.SnapshotKind, Namespace: snapshot.Namespace, Name: snapshot.Name, UID: snapshot.UID,
		Phase: phaseRemoved,
	}
	for _, c := range snapshot.Status.Conditions {
		if c.Type == v1alpha1.ConditionRetained {
			object.Reason = c.Reason
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
