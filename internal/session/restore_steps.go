package session

import "github.com/cairn-backup/cairn/api/v1alpha1"

// WritesFirst names the step of a restore's task that can write into the volumes before the mover checks what they
// hold, or returns "".
func WritesFirst(t v1alpha1.ResolvedTask) string {
	for _, s := range t.Steps {
		if s.TargetAccess == v1alpha1.TargetAccessReadWrite {
			return s.Container.Name
		}
	}
	return ""
}
