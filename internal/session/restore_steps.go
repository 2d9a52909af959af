package session

import "github.com/cairn-backup/cairn/api/v1alpha1"

// WritesFirst names the step of a restore's task that may write into the volumes before the mover has looked at what they hold, ""
// where there is none.
func WritesFirst(t v1alpha1.ResolvedTask) string {
	for _, s := range t.Steps {
		if s.TargetAccess == v1alpha1.TargetAccessReadWrite {
			return s.Container.Name
		}
	}
	return ""
}
