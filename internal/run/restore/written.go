package restore

import "github.com/cairn-backup/cairn/api/v1alpha1"

// MayHaveWritten reports whether a restore that has ended can have changed its target. It has not if it was never
// frozen, or if each of its components was refused before a mover wrote. Hooks and steps of the task can write before
// that, and what an earlier attempt wrote does not show in the last reason. A restore that another one kept out counts
// as that one, which writes.
func MayHaveWritten(s *v1alpha1.RestoreSession) bool {
	resolved := s.Status.Resolved
	if resolved == nil {
		return s.Status.Reason == v1alpha1.ReasonRestoreInProgress
	}
	if s.Status.Attempt > 1 || resolved.Hooks != nil || len(resolved.Task.Steps) > 0 || len(resolved.Hosts) == 0 {
		return true
	}
	for _, h := range resolved.Hosts {
		for _, v := range h.Volumes {
			c := s.Status.Components[v.Component]
			made := v.Template > 0 || v.Provision != nil
			if made || wrote(c) {
				return true
			}
		}
	}
	return false
}

// wrote reports whether the mover of a component can have written.
func wrote(c v1alpha1.RestoredComponent) bool {
	return c.Phase != v1alpha1.RestoreSessionFailed || c.TargetWritten || !endsBeforeWriting(c.Reason)
}

// endsBeforeWriting reports whether the reason of a failed component proves that its mover wrote nothing: the mover
// looks at the target and opens the repository first, and a Job that was refused never ran.
func endsBeforeWriting(reason string) bool {
	switch reason {
	case v1alpha1.ReasonVolumeNotEmpty, v1alpha1.ReasonWrongPassword, v1alpha1.ReasonPasswordChanged,
		v1alpha1.ReasonConfirmationMissing, v1alpha1.ReasonConfirmationWrong, v1alpha1.ReasonConfirmationUsed,
		v1alpha1.ReasonSnapshotDamaged, v1alpha1.ReasonRestoreNotAllowed, v1alpha1.ReasonCreationRefused:
		return true
	default:
		return false
	}
}
