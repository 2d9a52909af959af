package backup

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// BeyondHistory returns the runs of one session that its history no longer keeps.
//
// The history keeps the newest ended runs, up to limit, and the last successful run. It also keeps runs that have not
// ended, runs that a finalizer holds (they are not recorded yet, or their Jobs still exist), and runs whose retry is
// planned or under way.
func BeyondHistory(runs []*v1alpha1.BackupSession, limit int) []*v1alpha1.BackupSession {
	var finished []*v1alpha1.BackupSession
	needed := map[string]bool{}
	for _, s := range runs {
		if s.Status.Phase.Terminal() {
			finished = append(finished, s)
		} else {
			needed[s.Spec.RetryOf] = true
		}
	}
	slices.SortFunc(finished, func(a, b *v1alpha1.BackupSession) int {
		// The ends come from the manager's clock, which can have been wrong for a while.
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), EndOf(b).Compare(EndOf(a)),
			cmp.Compare(b.Name, a.Name))
	})
	var out []*v1alpha1.BackupSession
	succeeded := false
	for i, s := range finished {
		last := s.Status.Phase == v1alpha1.BackupSessionSucceeded && !succeeded
		succeeded = succeeded || last
		if i < limit || last || len(s.Finalizers) > 0 || needed[s.Name] || s.DeletionTimestamp != nil ||
			RetryPending(s) {
			continue
		}
		out = append(out, s)
	}
	return out
}

// RetryPending reports whether the failed targets of a run will be retried by a run that does not exist yet.
func RetryPending(s *v1alpha1.BackupSession) bool {
	return s.Status.NextRetry != nil && (s.Status.Retried == nil || !*s.Status.Retried)
}

// EndOf returns when a run ended. A run that ended before it started can lack a completion time; then it is the
// creation time.
func EndOf(s *v1alpha1.BackupSession) time.Time {
	if t := s.Status.CompletionTime; t != nil {
		return t.Time
	}
	return s.CreationTimestamp.Time
}

// SlotOf returns the schedule slot of a run.
func SlotOf(s *v1alpha1.BackupSession) time.Time {
	if t := s.Spec.ScheduledTime; t != nil {
		return t.Time
	}
	return s.CreationTimestamp.Time
}
