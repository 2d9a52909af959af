package run

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
)

// SidecarRunReading returns a run of the list whose sidecars can be reading the claim now, or nil. Jobs that read it
// are found by their pods instead.
func SidecarRunReading(runs []v1alpha1.BackupSession, claim string) *v1alpha1.BackupSession {
	for i := range runs {
		s := &runs[i]
		if s.Status.Resolved == nil || s.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		for j := range s.Status.Resolved.Targets {
			t := &s.Status.Resolved.Targets[j]
			if !workload.IsSidecar(t) || TargetEnded(s, t.Name) {
				continue
			}
			for _, h := range t.Hosts {
				for _, v := range h.Volumes {
					if v.ClaimName == claim {
						return s
					}
				}
			}
		}
	}
	return nil
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
