package session

import "github.com/cairn-backup/cairn/api/v1alpha1"

// Reading returns a run of the list whose sidecars can be reading the claim now, or nil. Jobs that read it are found by
// their pods instead.
func Reading(runs []v1alpha1.BackupSession, claim string) *v1alpha1.BackupSession {
	for i := range runs {
		s := &runs[i]
		if s.Status.Resolved == nil || s.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		for j := range s.Status.Resolved.Targets {
			t := &s.Status.Resolved.Targets[j]
			if !IsSidecar(t) || ended(s, t.Name) {
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

// ended reports whether a target of a run has ended.
func ended(s *v1alpha1.BackupSession, target string) bool {
	for _, t := range s.Status.Targets {
		if t.Name == target {
			return t.Phase.Terminal()
		}
	}
	return false
}
