package run

import "github.com/cairn-backup/cairn/api/v1alpha1"

// manyTargets is the number of targets above which their texts are cut, so that the status of all targets fits into one
// object.
const manyTargets = 50

// LimitPerTarget returns the length limit for a text of one of several targets, where limit applies to few targets.
func LimitPerTarget(targets, limit int) int {
	return limit * manyTargets / max(targets, manyTargets)
}

// Whole reports whether a run backed up all of its targets. A run that skipped one succeeded, but protects only the
// others.
func Whole(s *v1alpha1.BackupSession) bool {
	for i := range s.Status.Targets {
		if s.Status.Targets[i].Phase != v1alpha1.BackupSessionSucceeded {
			return false
		}
	}
	return s.Status.Phase == v1alpha1.BackupSessionSucceeded
}

// MaxParallel returns how many of several targets are allowed to be at work at once. Without most, all are.
func MaxParallel(order v1alpha1.ExecutionOrder, most *int32, targets int) int {
	switch {
	case order == v1alpha1.ExecutionSequential:
		return 1
	case most != nil:
		return int(max(*most, 1))
	default:
		return targets
	}
}
