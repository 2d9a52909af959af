package run

import (
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// RunReading returns a run of the list that holds a claim, or nil: it resolved the claim, and its target has not ended.
// It does not matter who reads the claim, nor whether that exists yet: a Job without a pod, a sidecar, the driver that
// takes a VolumeSnapshot, or the maker of a copy. copied reports whether a copy is made: then the run no longer needs
// the original.
func RunReading(
	runs []v1alpha1.BackupSession, claim string, copied func(*v1alpha1.ResolvedCopy) (bool, error),
) (*v1alpha1.BackupSession, error) {
	for i := range runs {
		for _, t := range openTargets(&runs[i]) {
			if !resolved(t, claim) {
				continue
			}
			c := t.CopyOf(claim)
			if c == nil {
				return &runs[i], nil
			}
			if made, err := copied(c); err != nil || !made {
				return &runs[i], err
			}
		}
	}
	return nil, nil
}

// RunReadingDatabase is RunReading for a database: by the object that stands for it, or by its server. server is nil if
// it is unknown.
func RunReadingDatabase(
	runs []v1alpha1.BackupSession, database v1alpha1.TypedObjectReference, server *v1alpha1.ResolvedDatabase,
) *v1alpha1.BackupSession {
	for i := range runs {
		for _, t := range openTargets(&runs[i]) {
			if t.AppRef.IsDatabase() && policy.SameTarget(t.AppRef, database) || SameServer(t.Task.Database, server) {
				return &runs[i]
			}
		}
	}
	return nil
}

// SameServer reports whether two tasks of one namespace work with the same database server.
func SameServer(a, b *v1alpha1.ResolvedDatabase) bool {
	return a != nil && b != nil && a.Server != "" && a.Server == b.Server
}

// openTargets returns the resolved targets of a run that have not ended.
func openTargets(s *v1alpha1.BackupSession) []*v1alpha1.ResolvedTarget {
	if s.Status.Resolved == nil || s.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(s.Annotations) {
		return nil
	}
	var out []*v1alpha1.ResolvedTarget
	for i := range s.Status.Resolved.Targets {
		if t := &s.Status.Resolved.Targets[i]; !TargetEnded(s, t.Name) {
			out = append(out, t)
		}
	}
	return out
}

func resolved(t *v1alpha1.ResolvedTarget, claim string) bool {
	return slices.ContainsFunc(t.Hosts, func(h v1alpha1.ResolvedHost) bool {
		return slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedVolume) bool { return v.ClaimName == claim })
	})
}

// TargetEnded reports whether a target of a run has ended.
func TargetEnded(s *v1alpha1.BackupSession, target string) bool {
	for _, t := range s.Status.Targets {
		if t.Name == target {
			return t.Phase.Terminal()
		}
	}
	return false
}
