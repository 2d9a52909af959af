package keeper

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// Needs are what the Snapshots need that stay in a Repository: their backups, and the data of these. The values are
// names of Snapshots.
type Needs map[need]string

// need is a part of a backup: one field of it is set.
type need struct{ snapshotID, uid, id string }

// NeedsOf returns what Snapshots need. They all belong to one Repository.
func NeedsOf(stay []*v1alpha1.Snapshot) Needs {
	out := Needs{}
	for _, s := range stay {
		for _, n := range needsOf(s) {
			out[n] = s.Name
		}
	}
	return out
}

// Of returns the name of a Snapshot that needs data of s, or "".
func (n Needs) Of(s *v1alpha1.Snapshot) string {
	for _, need := range needsOf(s) {
		if name := n[need]; name != "" {
			return name
		}
	}
	return ""
}

// needsOf returns what a removal of the Snapshot takes along: each can be enough to find data.
func needsOf(s *v1alpha1.Snapshot) []need {
	var out []need
	if s.Spec.SnapshotID != "" {
		out = append(out, need{snapshotID: s.Spec.SnapshotID})
	}
	for _, uid := range []string{string(s.UID), rebuiltOf(s)} {
		if uid != "" {
			out = append(out, need{uid: uid})
		}
	}
	for _, id := range idsOf(s) {
		out = append(out, need{id: id})
	}
	return out
}

// rebuiltOf returns the UID under which a rebuilt Snapshot was backed up, or "". It comes from the backend, where
// anybody can have written anything.
func rebuiltOf(s *v1alpha1.Snapshot) string {
	if uid := s.Annotations[v1alpha1.AnnotationRebuilt]; task.IsUID(uid) {
		return uid
	}
	return ""
}
