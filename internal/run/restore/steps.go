package restore

import "github.com/cairn-backup/cairn/api/v1alpha1"

// StepThatWritesFirst names the step of a restore's task that can write into the volumes before the mover checks what
// they hold, or returns "".
func StepThatWritesFirst(t v1alpha1.ResolvedTask) string {
	for _, s := range t.Steps {
		if s.TargetAccess == v1alpha1.TargetAccessReadWrite {
			return s.Container.Name
		}
	}
	return ""
}
