package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Expired are those of the runs of one session that its history has no place for any more, where it keeps the newest that
// ended, as many as limit says. The last one that succeeded stays beside them. So do runs that have not ended, that some
// finalizer holds (what they did is not recorded, or their Jobs are not gone), or that will be or are being tried again.
func Expired(runs []*v1alpha1.BackupSession, limit int) []*v1alpha1.BackupSession {
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
		return cmp.Or(EndOf(b).Compare(EndOf(a)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(b.Name, a.Name))
	})
	var out []*v1alpha1.BackupSession
	succeeded := false
	for i, s := range finished {
		last := s.Status.Phase == v1alpha1.BackupSessionSucceeded && !succeeded
		succeeded = succeeded || last
		if i < limit || last || len(s.Finalizers) > 0 || needed[s.Name] || s.DeletionTimestamp != nil || RetryPending(s) {
			continue
		}
		out = append(out, s)
	}
	return out
}

// RetryPending says whether what failed of a run is going to be tried again by a run that was not made yet.
func RetryPending(s *v1alpha1.BackupSession) bool {
	return s.Status.NextRetry != nil && (s.Status.Retried == nil || !*s.Status.Retried)
}

// EndOf is when a run ended. One that ended before it started may not say.
func EndOf(s *v1alpha1.BackupSession) time.Time {
	if t := s.Status.CompletionTime; t != nil {
		return t.Time
	}
	return s.CreationTimestamp.Time
}

// SlotOf is the slot that a run belongs to.
func SlotOf(s *v1alpha1.BackupSession) time.Time {
	if t := s.Spec.ScheduledTime; t != nil {
		return t.Time
	}
	return s.CreationTimestamp.Time
}
