package backup

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// BeyondHistory returns the runs of one session that its history no longer keeps.
//
// A run that seems to be made long after now is of a clock that was ahead. Such runs have a history of their own, so
// that they hide no later one.
//
// The history keeps the newest ended runs, up to limit, and the last run that backed up all of its targets. It also
// keeps runs that have not ended, runs that a finalizer holds (they are not recorded yet, or their Jobs still exist),
// and runs whose retry is planned or under way.
func BeyondHistory(runs []*v1alpha1.BackupSession, limit int, now time.Time) []*v1alpha1.BackupSession {
	var finished, ahead []*v1alpha1.BackupSession
	needed := map[string]bool{}
	for _, s := range runs {
		switch {
		case !s.Status.Phase.Terminal():
			needed[s.Spec.RetryOf] = true
		case v1alpha1.Ahead(s.CreationTimestamp.Time, now):
			ahead = append(ahead, s)
		default:
			finished = append(finished, s)
		}
	}
	return append(beyond(finished, limit, needed), beyond(ahead, limit, needed)...)
}

// beyond returns the ended runs of one history that it no longer keeps. needed names those whose retry is under way.
func beyond(finished []*v1alpha1.BackupSession, limit int, needed map[string]bool) []*v1alpha1.BackupSession {
	slices.SortFunc(finished, func(a, b *v1alpha1.BackupSession) int {
		// The ends come from the manager's clock, which can have been wrong for a while.
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), EndOf(b).Compare(EndOf(a)),
			cmp.Compare(b.Name, a.Name))
	})
	var out []*v1alpha1.BackupSession
	succeeded := false
	for i, s := range finished {
		last := run.Whole(s) && !succeeded
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

// BackedUp calls see for each target that an ended run has backed up, and each of its Repositories.
func BackedUp(r *v1alpha1.BackupSession, see func(t *v1alpha1.ResolvedTarget, repository string)) {
	if r.Status.Resolved == nil || !r.Status.Phase.Terminal() {
		return
	}
	whole := run.Whole(r)
	for i := range r.Status.Resolved.Targets {
		t := &r.Status.Resolved.Targets[i]
		if !whole && !slices.ContainsFunc(r.Status.Targets, func(s v1alpha1.BackupTargetStatus) bool {
			return s.Name == t.Name && s.Phase == v1alpha1.BackupSessionSucceeded
		}) {
			continue
		}
		for j := range t.Repositories {
			see(t, t.Repositories[j].Name)
		}
	}
}

// SlotOf returns the schedule slot of a run.
func SlotOf(s *v1alpha1.BackupSession) time.Time {
	if t := s.Spec.ScheduledTime; t != nil {
		return t.Time
	}
	return s.CreationTimestamp.Time
}

// Success tells when a session last succeeded, as far as its runs that exist tell. The zero value knows of no success.
type Success struct {
	// Ended is when the last successful run ended, Slot the newest slot with a successful run. A retry counts for both
	// with the slot of the run that began its restore point: the targets that it left out were backed up no later.
	Ended, Slot time.Time
}

// See counts a run if it backed up all of its targets.
func (s *Success) See(r *v1alpha1.BackupSession, now time.Time) {
	if !run.Whole(r) {
		return
	}
	ended, slot := EndOf(r), SlotOf(r)
	if f := r.Status.Resolved; f != nil && f.RestorePointTime != nil {
		ended, slot = f.RestorePointTime.Time, f.RestorePointTime.Time
	}
	created := r.CreationTimestamp.Time
	if at := v1alpha1.Happened(ended, created, now); at.After(s.Ended) {
		s.Ended = at
	}
	if at := v1alpha1.Happened(slot, created, now); at.After(s.Slot) {
		s.Slot = at
	}
}

// WaitsSince returns since when a session waits for its next success: the slot of the last success, or its end if that
// run was deleted. none reports that there never was one: then it is when the schedule came into force. The time is
// zero if nobody knows.
func WaitsSince(status *v1alpha1.SessionStatus, last Success, now time.Time) (since time.Time, none bool) {
	since = last.Slot
	if ended := lastEnd(status, last, now); ended.After(last.Ended) {
		since = ended
	}
	if !since.IsZero() {
		return since, false
	}
	if at := status.ScheduledSince; at != nil {
		since = at.Time
		if since.After(now) {
			since = now
		}
	}
	return since, true
}

// lastEnd returns when the last success of a session ended, or zero.
func lastEnd(status *v1alpha1.SessionStatus, last Success, now time.Time) time.Time {
	if known := status.LastSuccessTime; known != nil && known.After(last.Ended) && !v1alpha1.Ahead(known.Time, now) {
		return known.Time
	}
	return last.Ended
}

// OwedSlot returns the slot that an earlier schedule of a session owes, if no success has ended since.
func OwedSlot(status *v1alpha1.SessionStatus, last Success, now time.Time) (slot time.Time, ok bool) {
	owed := status.OwedSlot
	if owed == nil || v1alpha1.Ahead(owed.Time, now) || !lastEnd(status, last, now).Before(owed.Time) {
		return time.Time{}, false
	}
	return owed.Time, true
}

// SlotToOwe returns the slot that a session owes as another schedule comes into force: the one that it owes already,
// else the first of its present schedule since the last success ended. The slots that passed while that run worked are
// not owed: it held up their runs.
func SlotToOwe(
	status *v1alpha1.SessionStatus, last Success, now time.Time,
	next func(line string, from time.Time) (time.Time, error),
) (slot time.Time, ok bool) {
	if slot, ok := OwedSlot(status, last, now); ok {
		return slot, true
	}
	since := lastEnd(status, last, now)
	if since.IsZero() {
		since, _ = WaitsSince(status, last, now)
	}
	if status.Schedule == "" || since.IsZero() {
		return time.Time{}, false
	}
	slot, err := next(status.Schedule, inForce(status, since, now))
	return slot, err == nil && slot.Before(now)
}

// inForce returns the later of a time and when the present schedule came into force.
func inForce(status *v1alpha1.SessionStatus, since, now time.Time) time.Time {
	if at := status.ScheduledSince; at != nil && at.After(since) && !at.After(now) {
		return at.Time
	}
	return since
}

// SuccessDue returns when the next success of a session must be there: the run of the first slot since the last success
// has its timeout, or run.LateAfter without one. After that the session is late, also if its schedule is suspended. The
// condition Protected, the metric and STATUS.md all say so. next returns the first slot of the session's schedule after
// a time. status is what Scheduled returns. A session whose schedule never could be read has no slot: its success is
// due since it waits. A session without a schedule is never due: ok is false.
func SuccessDue(
	status *v1alpha1.SessionStatus, config *v1alpha1.SessionConfig, last Success, now time.Time,
	next func(line string, from time.Time) (time.Time, error),
) (due time.Time, ok bool) {
	if status.Schedule == "" && config.Scheduler == nil {
		return time.Time{}, false
	}
	slot, ok := firstSlot(status, last, now, next)
	if !ok {
		return time.Time{}, false
	}
	patience := run.LateAfter
	if config.BackupTimeout != nil {
		patience = config.BackupTimeout.Duration
	}
	due = slot.Add(patience)
	if owed, ok := OwedSlot(status, last, now); ok {
		ended := lastEnd(status, last, now)
		if at, ok := owedSince(status, ended, now, next); ok {
			if at = v1alpha1.Later(owed.Add(patience), at); at.Before(due) {
				return at, true
			}
		}
	}
	return due, true
}

// owedSince returns since when what an earlier schedule owes makes a session late under the present one: since the last
// success is older than one period, and a slot of the present schedule had passed as it came into force. A schedule
// that became less frequent is content with an older success. Of two periods, the shorter counts: a schedule of
// working days is as late on a Friday as on a Monday.
func owedSince(
	status *v1alpha1.SessionStatus, ended, now time.Time, next func(line string, from time.Time) (time.Time, error),
) (time.Time, bool) {
	if ended.IsZero() {
		return time.Time{}, false
	}
	var slots [3]time.Time
	from := ended
	for i := range slots {
		slot, err := next(status.Schedule, from)
		if err != nil {
			return time.Time{}, false
		}
		slots[i], from = slot, slot
	}
	if slots[0].After(inForce(status, ended, now)) {
		return time.Time{}, false
	}
	return ended.Add(min(slots[1].Sub(slots[0]), slots[2].Sub(slots[1]))), true
}

// firstSlot returns the first slot of the present schedule that has to have a success since the last one, and no slot
// from before it came into force. If there never was a success, it can be a slot of an earlier schedule. Without a
// schedule, it returns when the session began to wait.
func firstSlot(
	status *v1alpha1.SessionStatus, last Success, now time.Time,
	next func(line string, from time.Time) (time.Time, error),
) (slot time.Time, ok bool) {
	since, none := WaitsSince(status, last, now)
	if owed, ok := OwedSlot(status, last, now); ok && none {
		return owed, true
	}
	if status.Schedule == "" || since.IsZero() {
		return since, !since.IsZero()
	}
	slot, err := next(status.Schedule, inForce(status, since, now))
	return slot, err == nil
}

// Scheduled completes the status of a session whose schedule is not in it: the policy was not reconciled yet, or nobody
// can read the schedule, or it has no slot. Then Schedule stays empty. Either way the session promises backups since
// the policy was created.
func Scheduled(
	status v1alpha1.SessionStatus, config *v1alpha1.SessionConfig, identity string, created time.Time,
) v1alpha1.SessionStatus {
	if status.Schedule != "" || config.Scheduler == nil {
		return status
	}
	times, err := schedule.New(config.Scheduler, identity)
	if err == nil {
		status.Schedule = times.String()
	}
	if (err == nil || status.ScheduledSince == nil) && !created.IsZero() {
		status.ScheduledSince = &metav1.Time{Time: created}
	}
	return status
}
