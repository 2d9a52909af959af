package trigger

import (
	"fmt"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/schedule"
	"github.com/cairn-backup/cairn/internal/text"
)

// grace is how long a CronJob can take to create the run of a slot: its pod must be scheduled and its image pulled.
const grace = 5 * time.Minute

// countedSlots is the largest number of missed slots that is counted.
const countedSlots = 100

// sessionFacts is what is known about one session and its runs.
type sessionFacts struct {
	previous v1alpha1.SessionStatus
	config   v1alpha1.SessionConfig
	identity string
	paused   bool
	// runs of the session, in any order.
	runs []*v1alpha1.BackupSession
	// asked is what policy asks the session to back up, as far as known.
	asked []part
	// repositories that the sessions of the policy ask for, by name. A nil entry does not exist. A nil map: nobody
	// looked.
	repositories map[string]*v1alpha1.Repository
	// empty are the targets of the session whose selectors find nothing, as far as known.
	empty []string
	// unscheduled is why the session's CronJob is not in place: a name conflict, or an invalid policy.
	unscheduled error
	// generation of the policy, and when it was created.
	generation int64
	created    time.Time
	now        time.Time
}

func (b *sessionFacts) suspended() bool {
	return b.paused || ptr.Deref(b.config.Scheduler.Suspend, false)
}

func (b *sessionFacts) byController() bool {
	return b.config.Scheduler.Type == v1alpha1.SchedulerController
}

// judgement is what follows from sessionFacts.
type judgement struct {
	status v1alpha1.SessionStatus
	// start is the slot whose run the manager must create; zero for none.
	start time.Time
	// missed is the message of an event about slots that passed without a run; "" if there is nothing new to report.
	missed string
	// skewed is the message of an event about a clock that was ahead; "" if there is nothing new to report.
	skewed string
	// look is when to judge again; zero for never.
	look time.Time
	// protection of what the session backs up; nil for a session without a schedule.
	protection *protection
}

// judge finds out which slots of a session had their runs, which passed without a run, and which slot is next. If a
// schedule cannot be read, the previous one stays in force.
func judge(b sessionFacts) judgement {
	j := judgement{status: v1alpha1.SessionStatus{Name: b.config.Name}}
	lost := b.dropAhead()
	if lost.any {
		j.skewed = fmt.Sprintf("session %s: times of its status lie in the future and do not count: the clock of the "+
			"manager was ahead", b.config.Name)
	}
	var last backup.Success
	for _, s := range b.runs {
		last.See(s, b.now)
	}
	j.status.LastSuccessTime = later(b.previous.LastSuccessTime, last.Ended)
	if b.config.Scheduler == nil {
		return j
	}
	j.status.Conditions = slices.Clone(b.previous.Conditions)
	j.status.Schedule, j.status.ScheduledSince = b.previous.Schedule, b.previous.ScheduledSince
	j.status.LastScheduleTime, j.status.LastMissedTime = b.previous.LastScheduleTime, b.previous.LastMissedTime
	j.status.OwedSlot = b.previous.OwedSlot
	if _, owed := backup.OwedSlot(&j.status, last, b.now); !owed {
		j.status.OwedSlot = nil
	}

	times, wrong := schedule.New(b.config.Scheduler, b.identity)
	j.ensured(&b, wrong)
	if wrong != nil {
		var err error
		if times, err = schedule.Read(b.previous.Schedule); err != nil {
			j.unreadable(&b, last)
			return j
		}
	} else if text := times.String(); j.status.Schedule != text || j.status.ScheduledSince == nil {
		j.owe(&b, last)
		j.status.Schedule, j.status.ScheduledSince = text, new(metav1.NewTime(b.now).Rfc3339Copy())
	}
	if lost.slot {
		j.resume(&b, times)
	}
	j.count(&b, times)
	j.miss(&b, times)
	if !b.suspended() {
		next := times.Next(b.now)
		j.at(b.now, next)
		if wrong == nil && b.unscheduled == nil {
			j.status.NextSchedule = &metav1.Time{Time: next}
		}
	}
	j.protection = protect(&b, &j.status, last)
	j.at(b.now, j.protection.due)
	return j
}

// owe keeps a slot that waits for its success before another schedule comes into force. Otherwise each change of a
// schedule would end the wait.
func (j *judgement) owe(b *sessionFacts, last backup.Success) {
	if slot, ok := backup.SlotToOwe(&j.status, last, b.now, schedule.Next); ok {
		j.status.OwedSlot = new(metav1.NewTime(slot).Rfc3339Copy())
	}
}

// ensured sets the condition that shows whether the schedule is in force.
func (j *judgement) ensured(b *sessionFacts, wrong error) {
	c := metav1.Condition{
		Type: v1alpha1.ConditionSchedulerEnsured, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSchedulerEnsured,
		Message: "the session's CronJob is in place",
	}
	if b.byController() {
		c.Message = "the manager starts the session's runs"
	}
	switch {
	case wrong != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalidSchedule, wrong.Error()
	case b.unscheduled != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonSchedulerNotEnsured, b.unscheduled.Error()
	}
	j.set(b, c)
}

func (j *judgement) set(b *sessionFacts, c metav1.Condition) {
	c.LastTransitionTime, c.ObservedGeneration = metav1.NewTime(b.now), b.generation
	apimeta.SetStatusCondition(&j.status.Conditions, c)
}

// accounted returns the time up to which every slot has had its run or is known as missed.
func (j *judgement) accounted() time.Time {
	at := j.status.ScheduledSince.Time
	if last := j.status.LastScheduleTime; last != nil && last.After(at) {
		at = last.Time
	}
	return at
}

// count finds the newest slot that has a run, or whose run the manager must create. Like a CronJob, the manager creates
// only the run of the newest slot when several have passed, and no run that would start too late.
func (j *judgement) count(b *sessionFacts, times schedule.Times) {
	var newest time.Time
	for _, s := range b.runs {
		if at := s.Spec.ScheduledTime; at != nil && s.Spec.RetryOf == "" && at.After(newest) && !at.After(b.now) &&
			times.Is(at.Time) {
			newest = at.Time
		}
	}
	j.reach(b, times, newest)
	if !b.byController() || b.suspended() {
		return
	}
	from := j.status.ScheduledSince.Time
	if last := j.status.LastScheduleTime; last != nil {
		from = last.Time
	}
	slot, ok := times.Newest(from, b.now)
	if !ok {
		return
	}
	if seconds := b.config.Scheduler.StartingDeadlineSeconds; seconds != nil &&
		b.now.After(slot.Add(time.Duration(*seconds)*time.Second)) {
		return
	}
	j.start = slot
	j.reach(b, times, slot)
}

// reach advances the newest slot that has a run. The slots in between were missed.
func (j *judgement) reach(b *sessionFacts, times schedule.Times, slot time.Time) {
	from := j.accounted()
	if last := j.status.LastScheduleTime; slot.IsZero() || last != nil && !slot.After(last.Time) {
		return
	}
	j.status.LastScheduleTime = &metav1.Time{Time: slot}
	missed, ok := times.Newest(from, slot.Add(-time.Second))
	if !ok {
		return
	}
	known := j.known(missed)
	j.status.LastMissedTime = later(j.status.LastMissedTime, missed)
	if known {
		return
	}
	j.missed = fmt.Sprintf("session %s: %s passed without a run, the last of them %s", b.config.Name,
		slots(times.Between(from, slot, countedSlots)), missed.Format(time.RFC3339))
}

// known reports whether an event already told of a missed slot, or of a schedule that stands still.
func (j *judgement) known(slot time.Time) bool {
	last := j.status.LastMissedTime
	return last != nil && !slot.After(last.Time) || apimeta.IsStatusConditionTrue(j.status.Conditions,
		v1alpha1.ConditionSlotsMissed)
}

func slots(n int) string {
	if n >= countedSlots {
		return fmt.Sprintf("%d slots or more", countedSlots)
	}
	return text.Quantity(n, "slot")
}

// miss sets the condition SlotsMissed while a passed slot has no run, and removes it once a later slot has one.
func (j *judgement) miss(b *sessionFacts, times schedule.Times) {
	patience := grace
	if b.suspended() || b.byController() {
		patience = 0
	}
	first := times.Next(j.accounted())
	if first.Add(patience).After(b.now) {
		apimeta.RemoveStatusCondition(&j.status.Conditions, v1alpha1.ConditionSlotsMissed)
		if !first.After(b.now) || b.suspended() {
			j.at(b.now, first.Add(patience))
		}
		return
	}
	c := metav1.Condition{
		Type: v1alpha1.ConditionSlotsMissed, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonSlotsMissed,
	}
	switch {
	case b.suspended():
		c.Reason, c.Message = v1alpha1.ReasonSuspended, "slots pass without a run: the schedule is suspended"
	case b.byController():
		c.Message = "slots passed without a run, and it is too late to start one: the next run starts at the next slot"
	default:
		c.Message = "slots pass without a run: see whether the cluster's CronJob controller works and the pods of " +
			"the session's CronJob can start"
	}
	if was := apimeta.FindStatusCondition(j.status.Conditions, c.Type); was == nil || was.Status != c.Status {
		j.missed = fmt.Sprintf("session %s: %s", b.config.Name, c.Message)
		j.status.LastMissedTime = &metav1.Time{Time: first}
	}
	j.set(b, c)
}

// at notes a time to judge again.
func (j *judgement) at(now, when time.Time) {
	if when.After(now) && (j.look.IsZero() || when.Before(j.look)) {
		j.look = when
	}
}

// later returns the later of a status time and another time.
func later(a *metav1.Time, b time.Time) *metav1.Time {
	if b.IsZero() || a != nil && !b.After(a.Time) {
		return a
	}
	return &metav1.Time{Time: b}
}
