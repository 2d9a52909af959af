package trigger

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// dropped is what dropAhead has dropped: anything, and the newest slot that has a run.
type dropped struct{ any, slot bool }

// dropAhead drops what a clock that was ahead has left in the status of a session. Otherwise no run would start, and no
// success would be late, before those times have come.
func (b *sessionFacts) dropAhead() dropped {
	ahead := func(t *metav1.Time) bool { return t != nil && v1alpha1.Ahead(t.Time, b.now) }
	p := &b.previous
	d := dropped{slot: ahead(p.LastScheduleTime)}
	d.any = d.slot || ahead(p.LastSuccessTime) || ahead(p.LastMissedTime) || ahead(p.ScheduledSince) ||
		ahead(p.OwedSlot)
	if ahead(p.LastScheduleTime) {
		p.LastScheduleTime = nil
	}
	if ahead(p.LastSuccessTime) {
		p.LastSuccessTime, p.LastSuccessOf = nil, ""
	}
	if ahead(p.LastMissedTime) {
		p.LastMissedTime = nil
	}
	if ahead(p.OwedSlot) {
		p.OwedSlot = nil
	}
	if ahead(p.ScheduledSince) {
		p.ScheduledSince = new(metav1.NewTime(b.now).Rfc3339Copy())
	}
	return d
}

// resume goes on where nobody knows any more which slots had a run: only the newest one is due. A run that it had
// already is found by its name.
func (j *judgement) resume(b *sessionFacts, times schedule.Times) {
	since := j.status.ScheduledSince.Time
	newest, ok := times.Newest(since, b.now)
	if !ok {
		return
	}
	if before, ok := times.Newest(since, newest.Add(-time.Second)); ok {
		j.status.LastScheduleTime = &metav1.Time{Time: before}
	}
}
