package session

import (
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ChooseComponent is the component of a Snapshot that is restored: the one that is asked for, else the only one.
func ChooseComponent(s *v1alpha1.Snapshot, asked []string) (string, *v1alpha1.ResolvedError) {
	have := slices.Sorted(maps.Keys(s.Status.Components))
	list := strings.Join(have, ", ")
	switch {
	case len(asked) > 1:
		return "", fail(v1alpha1.ReasonInvalidParameters, "a PersistentVolumeClaim takes one component of Snapshot %s; these are: %s", s.Name, list)
	case len(asked) == 1:
		if !slices.Contains(have, asked[0]) {
			return "", fail(v1alpha1.ReasonComponentNotFound, "Snapshot %s has no component %q; these are: %s", s.Name, asked[0], list)
		}
		return asked[0], nil
	case len(have) == 1:
		return have[0], nil
	case len(have) == 0:
		return "", fail(v1alpha1.ReasonComponentNotFound, "Snapshot %s has no components", s.Name)
	default:
		return "", fail(v1alpha1.ReasonComponentNotFound, "Snapshot %s has several components: name one of them in dataSource.components: %s", s.Name, list)
	}
}

// Latest is the newest Snapshot of a repository that succeeded, nil when there is none. Of two of the same time the one
// with the greater ID is newer.
func Latest(snapshots []v1alpha1.Snapshot, repository string) *v1alpha1.Snapshot {
	var best *v1alpha1.Snapshot
	for i := range snapshots {
		s := &snapshots[i]
		if s.Spec.Repository != repository || s.Status.Phase != v1alpha1.SnapshotSucceeded || s.DeletionTimestamp != nil ||
			s.Status.SnapshotTime == nil || v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		if best == nil || best.Status.SnapshotTime.Before(s.Status.SnapshotTime) ||
			best.Status.SnapshotTime.Equal(s.Status.SnapshotTime) && best.Spec.SnapshotID < s.Spec.SnapshotID {
			best = s
		}
	}
	return best
}
