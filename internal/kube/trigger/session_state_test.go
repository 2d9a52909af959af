package trigger

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, "2026-"+s+"Z")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return out
}

// hourly is a session with slots at 17 minutes past each hour. Its last run was that of 08:17.
func hourly(t testing.TB, now string, edit ...func(*sessionFacts)) sessionFacts {
	t.Helper()
	b := sessionFacts{
		config: v1alpha1.SessionConfig{Name: "hourly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "17 * * * *"}},
		previous: v1alpha1.SessionStatus{
			Name: "hourly", Schedule: "17 * * * *", ScheduledSince: new(metav1.NewTime(at(t, "11-19T00:00:00"))),
			LastScheduleTime: new(metav1.NewTime(at(t, "11-20T08:17:00"))),
		},
		now: at(t, now), generation: 3,
	}
	for _, e := range edit {
		e(&b)
	}
	return b
}

func byController(b *sessionFacts) { b.config.Scheduler.Type = v1alpha1.SchedulerController }
func paused(b *sessionFacts)       { b.paused = true }
func suspended(b *sessionFacts)    { b.config.Scheduler.Suspend = new(true) }
func deadline(b *sessionFacts)     { b.config.Scheduler.StartingDeadlineSeconds = ptr.To[int64](600) }

func runOf(t testing.TB, slot string, phase v1alpha1.BackupSessionPhase) *v1alpha1.BackupSession {
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: slot}}
	s.Spec.ScheduledTime = new(metav1.NewTime(at(t, slot)))
	s.Status.Phase = phase
	s.Status.CompletionTime = new(metav1.NewTime(at(t, slot).Add(10 * time.Minute)))
	return s
}

func TestJudge(t *testing.T) {
	ran := func(slots ...string) func(*sessionFacts) {
		return func(b *sessionFacts) {
			for _, slot := range slots {
				b.runs = append(b.runs, runOf(t, slot, v1alpha1.BackupSessionSucceeded))
			}
		}
	}
	known := func(b *sessionFacts) {
		b.previous.LastMissedTime = new(metav1.NewTime(at(t, "11-20T09:17:00")))
		b.previous.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionSlotsMissed, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonSuspended,
		}}
	}
	tests := map[string]struct {
		book sessionFacts
		// start, last, missed, next and look are times of 20 November; missing is the reason of the condition.
		start, last, missed, next, look string
		missing, said                   string
	}{
		"between two slots": {book: hourly(t, "11-20T08:40:00"), last: "08:17", next: "09:17", look: "09:17"},
		"the run of a slot is on its way": {
			book: hourly(t, "11-20T09:18:00"),
			last: "08:17", next: "10:17", look: "09:22",
		},
		"the run of a slot is there": {
			book: hourly(t, "11-20T09:18:00", ran("11-20T09:17:00")),
			last: "09:17", next: "10:17", look: "10:17",
		},
		"a run that somebody started belongs to no slot": {
			book: hourly(t, "11-20T09:18:00", ran("11-20T09:16:40")),
			last: "08:17", next: "10:17", look: "09:22",
		},
		"a retry belongs to no slot": {book: hourly(t, "11-20T09:18:00", func(b *sessionFacts) {
			b.runs = []*v1alpha1.BackupSession{runOf(t, "11-20T09:17:00", v1alpha1.BackupSessionRunning)}
			b.runs[0].Spec.RetryOf = "other"
		}), last: "08:17", next: "10:17", look: "09:22"},
		"nobody created the run of a slot": {
			book: hourly(t, "11-20T09:22:00"),
			last: "08:17", missed: "09:17", next: "10:17", look: "10:17", missing: v1alpha1.ReasonSlotsMissed,
			said: "slots pass without a run: see whether",
		},
		"a missed slot that was reported already": {
			book: hourly(t, "11-20T11:30:00", known),
			last: "08:17", missed: "09:17", next: "12:17", look: "12:17", missing: v1alpha1.ReasonSlotsMissed,
		},
		"a later run ends a gap that was reported": {
			book: hourly(t, "11-20T11:30:00", known, ran("11-20T11:17:00")),
			last: "11:17", missed: "10:17", next: "12:17", look: "12:17",
		},
		"slots passed before a run": {
			book: hourly(t, "11-20T11:30:00", ran("11-20T11:17:00")),
			last: "11:17", missed: "10:17", next: "12:17", look: "12:17",
			said: "2 slots passed without a run, the last of them 2026-11-20T10:17:00Z",
		},

		"the manager creates the run of a slot": {
			book:  hourly(t, "11-20T09:17:00", byController),
			start: "09:17", last: "09:17", next: "10:17", look: "10:17",
		},
		"the manager created the run": {
			book: hourly(t, "11-20T09:17:30", byController, ran("11-20T09:17:00")),
			last: "09:17", next: "10:17", look: "10:17",
		},
		"the manager was away: only the newest slot gets its run": {
			book:  hourly(t, "11-20T11:30:00", byController),
			start: "11:17", last: "11:17", missed: "10:17", next: "12:17", look: "12:17",
			said: "2 slots passed without a run",
		},
		"the manager was away until it is too late": {
			book: hourly(t, "11-20T11:30:00", byController, deadline),
			last: "08:17", missed: "09:17", next: "12:17", look: "12:17", missing: v1alpha1.ReasonSlotsMissed,
			said: "it is too late to start one",
		},
		"the manager was away, not too late": {
			book:  hourly(t, "11-20T11:26:00", byController, deadline),
			start: "11:17", last: "11:17", missed: "10:17", next: "12:17", look: "12:17",
			said: "2 slots passed without a run",
		},
		"a new session waits for its first slot": {
			book: hourly(t, "11-20T08:40:00", byController,
				func(b *sessionFacts) { b.previous = v1alpha1.SessionStatus{} }),
			next: "09:17", look: "09:17",
		},
		"a policy that became invalid stays in force": {
			book: hourly(t, "11-20T09:17:00", byController,
				func(b *sessionFacts) { b.unscheduled = errUntouched }),
			start: "09:17", last: "09:17", look: "10:17",
		},
		"an unreadable schedule leaves the previous one in force": {
			book: hourly(t, "11-20T09:17:00", byController,
				func(b *sessionFacts) { b.config.Scheduler.Schedule = "61 * * * *" }),
			start: "09:17", last: "09:17", look: "10:17",
		},

		"a schedule that is suspended looks at its first slot": {
			book: hourly(t, "11-20T08:40:00", suspended), last: "08:17", look: "09:17",
		},
		"a slot of a suspended schedule passes": {
			book: hourly(t, "11-20T09:17:00", suspended),
			last: "08:17", missed: "09:17", missing: v1alpha1.ReasonSuspended, said: "the schedule is suspended",
		},
		"more slots of a suspended schedule pass": {
			book: hourly(t, "11-20T12:17:00", suspended, known),
			last: "08:17", missed: "09:17", missing: v1alpha1.ReasonSuspended,
		},
		"a paused policy counts as suspended": {
			book: hourly(t, "11-20T09:17:00", paused, byController),
			last: "08:17", missed: "09:17", missing: v1alpha1.ReasonSuspended, said: "the schedule is suspended",
		},
		"a resumed schedule runs the newest slot": {
			book:  hourly(t, "11-20T12:20:00", byController, known),
			start: "12:17", last: "12:17", missed: "11:17", next: "13:17", look: "13:17",
		},
	}
	short := func(at *metav1.Time) string {
		if at == nil || at.IsZero() {
			return ""
		}
		return at.UTC().Format("15:04")
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			j := judge(test.book)
			g.Expect(short(&metav1.Time{Time: j.start})).To(Equal(test.start), "start")
			g.Expect(short(j.status.LastScheduleTime)).To(Equal(test.last), "last")
			g.Expect(short(j.status.NextSchedule)).To(Equal(test.next), "next")
			g.Expect(short(&metav1.Time{Time: j.look})).To(Equal(test.look), "look")
			c := apimeta.FindStatusCondition(j.status.Conditions, v1alpha1.ConditionSlotsMissed)
			g.Expect(c != nil).To(Equal(test.missing != ""), "%+v", c)
			if c != nil {
				g.Expect(c.Reason).To(Equal(test.missing))
			}
			g.Expect(short(j.status.LastMissedTime)).To(Equal(test.missed), "missed")
			if test.said == "" {
				g.Expect(j.missed).To(BeEmpty())
			} else {
				g.Expect(j.missed).To(ContainSubstring(test.said))
			}

			again := test.book
			again.previous = j.status
			again.now = again.now.Add(time.Second)
			second := judge(again)
			g.Expect(second.start.IsZero()).To(BeTrue(), "nothing is run twice")
			g.Expect(second.missed).To(BeEmpty(), "nothing is reported twice")
			g.Expect(second.status).To(Equal(j.status), "nothing changes without a reason")
		})
	}
}

func TestSchedulerEnsured(t *testing.T) {
	reason := func(b sessionFacts) string {
		c := apimeta.FindStatusCondition(judge(b).status.Conditions, v1alpha1.ConditionSchedulerEnsured)
		if c == nil {
			return ""
		}
		return c.Reason + ": " + c.Message
	}
	g := NewWithT(t)
	g.Expect(reason(hourly(t, "11-20T08:40:00"))).To(Equal("SchedulerEnsured: the session's CronJob is in place"))
	g.Expect(reason(hourly(t, "11-20T08:40:00",
		byController))).To(Equal("SchedulerEnsured: the manager starts the session's runs"))
	g.Expect(reason(hourly(t, "11-20T08:40:00",
		func(b *sessionFacts) { b.unscheduled = errors.New("the name is in use") }))).
		To(Equal("SchedulerNotEnsured: the name is in use"))
	g.Expect(reason(hourly(t, "11-20T08:40:00",
		func(b *sessionFacts) { b.config.Scheduler.Schedule = "61 * * * *" }))).To(HavePrefix("InvalidSchedule: "))
	g.Expect(reason(hourly(t, "11-20T08:40:00", func(b *sessionFacts) { b.config.Scheduler = nil }))).To(BeEmpty())
}

// A changed schedule has missed no slot yet, and the status shows what H stands for.
func TestAChangedScheduleBeginsAnew(t *testing.T) {
	g := NewWithT(t)
	j := judge(hourly(t, "11-20T11:30:00", func(b *sessionFacts) {
		b.config.Scheduler.Schedule, b.config.Scheduler.TimeZone = "H 6 * * *", new("Europe/Berlin")
		b.identity = "BackupConfiguration/shop/uploads/hourly"
	}))
	g.Expect(j.status.Schedule).To(MatchRegexp(`^\d+ 6 \* \* \* Europe/Berlin$`))
	g.Expect(j.status.ScheduledSince.Time).To(Equal(at(t, "11-20T11:30:00")))
	g.Expect(j.missed).To(BeEmpty())
	g.Expect(apimeta.FindStatusCondition(j.status.Conditions, v1alpha1.ConditionSlotsMissed)).To(BeNil())
	g.Expect(j.status.NextSchedule.UTC().Hour()).To(Equal(5))
}

// A run without a timeout that hangs is not ended, and with Forbid it holds up all later runs: somebody must look.
func TestARunThatHangsIsNamed(t *testing.T) {
	g := NewWithT(t)
	b := hourly(t, "11-20T15:18:00", func(b *sessionFacts) {
		b.runs = append(b.runs, runOf(t, "11-20T08:17:00", v1alpha1.BackupSessionSucceeded),
			runOf(t, "11-20T09:17:00", v1alpha1.BackupSessionRunning),
			runOf(t, "11-20T10:17:00", v1alpha1.BackupSessionSkipped))
	})
	c := &v1alpha1.BackupConfiguration{}
	protected(c, []*protection{judge(b).protection})
	got := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionProtected)
	g.Expect(string(got.Status) + "/" + got.Reason).To(Equal("False/" + v1alpha1.ReasonLate))
	g.Expect(got.Message).To(ContainSubstring("hourly (BackupSession 11-20T09:17:00 has not ended)"))
}

func TestProtected(t *testing.T) {
	succeeded := func(slot string) func(*sessionFacts) {
		return func(b *sessionFacts) { b.runs = append(b.runs, runOf(t, slot, v1alpha1.BackupSessionSucceeded)) }
	}
	failed := func(b *sessionFacts) {
		b.runs = append(b.runs, runOf(t, "11-20T09:17:00", v1alpha1.BackupSessionFailed))
	}
	hangs := func(b *sessionFacts) {
		b.runs = append(b.runs, runOf(t, "11-20T09:17:00", v1alpha1.BackupSessionRunning),
			runOf(t, "11-20T10:17:00", v1alpha1.BackupSessionSkipped))
	}
	within := func(b *sessionFacts) { b.config.BackupTimeout = &metav1.Duration{Duration: time.Hour} }
	tests := map[string]struct {
		books        []sessionFacts
		status, what string
	}{
		"a run that hangs is not late yet": {
			[]sessionFacts{hourly(t, "11-20T15:16:00", succeeded("11-20T08:17:00"), hangs)},
			"True",
			v1alpha1.ReasonProtected,
		},
		"no schedule": {
			[]sessionFacts{hourly(t, "11-20T08:40:00", func(b *sessionFacts) { b.config.Scheduler = nil })}, "", "",
		},
		"a success in time": {
			[]sessionFacts{hourly(t, "11-20T10:16:00", within, succeeded("11-20T08:17:00"), failed)},
			"True",
			v1alpha1.ReasonProtected,
		},
		"no success in time": {
			[]sessionFacts{hourly(t, "11-20T10:18:00", within, succeeded("11-20T08:17:00"), failed)},
			"False",
			v1alpha1.ReasonLate,
		},
		"a success in the status alone": {
			[]sessionFacts{hourly(t, "11-20T10:16:00", within,
				func(b *sessionFacts) {
					b.previous.LastSuccessTime = new(metav1.NewTime(at(t, "11-20T08:20:00")))
				})},
			"True", v1alpha1.ReasonProtected,
		},
		"a success in the status, of a deleted run": {
			[]sessionFacts{hourly(t, "11-20T10:16:00", within,
				succeeded("11-20T04:17:00"),
				func(b *sessionFacts) {
					b.previous.LastSuccessTime = new(metav1.NewTime(at(t, "11-20T08:20:00")))
				})},
			"True",
			v1alpha1.ReasonProtected,
		},
		"no success yet": {
			[]sessionFacts{
				hourly(t, "11-20T10:16:00", func(b *sessionFacts) { b.previous = v1alpha1.SessionStatus{} }),
			},
			"Unknown",
			v1alpha1.ReasonNoBackupYet,
		},
		"no success for too long": {[]sessionFacts{hourly(t, "11-20T10:16:00")}, "False", v1alpha1.ReasonLate},
		"no success, suspended": {
			[]sessionFacts{hourly(t, "11-20T10:18:00", within, succeeded("11-20T08:17:00"), suspended)},
			"False",
			v1alpha1.ReasonSuspended,
		},
		"suspended, the success is recent": {
			[]sessionFacts{hourly(t, "11-20T08:40:00", within, succeeded("11-20T08:17:00"), suspended)},
			"True",
			v1alpha1.ReasonProtected,
		},
		"one of two sessions is late": {
			[]sessionFacts{
				hourly(t, "11-20T10:16:00", within, succeeded("11-20T08:17:00")),
				hourly(t, "11-20T10:16:00"),
			},
			"False", v1alpha1.ReasonLate,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := &v1alpha1.BackupConfiguration{}
			c.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionProtected, Status: metav1.ConditionTrue,
				Reason: "Before",
			}}
			var all []*protection
			for _, b := range test.books {
				if p := judge(b).protection; p != nil {
					all = append(all, p)
				}
			}
			protected(c, all)
			got := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionProtected)
			g.Expect(got != nil).To(Equal(test.what != ""))
			if got != nil {
				g.Expect(string(got.Status) + "/" + got.Reason).To(Equal(test.status + "/" + test.what))
				g.Expect(got.Message).NotTo(BeEmpty())
			}
		})
	}
}

// A run succeeds although a target was skipped because it is being restored. Nobody may take that target for protected.
func TestASkippedTargetIsNotProtected(t *testing.T) {
	for name, tt := range map[string]struct {
		targets []v1alpha1.BackupSessionPhase
		slot    string
	}{
		"an earlier version wrote no targets": {slot: "11-20T09:17:00"},
		"all targets": {
			targets: []v1alpha1.BackupSessionPhase{v1alpha1.BackupSessionSucceeded, v1alpha1.BackupSessionSucceeded},
			slot:    "11-20T09:17:00",
		},
		"one was skipped": {
			targets: []v1alpha1.BackupSessionPhase{v1alpha1.BackupSessionSucceeded, v1alpha1.BackupSessionSkipped},
			slot:    "11-20T08:17:00",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			runs := []*v1alpha1.BackupSession{
				runOf(t, "11-20T08:17:00", v1alpha1.BackupSessionSucceeded),
				runOf(t, "11-20T09:17:00", v1alpha1.BackupSessionSucceeded),
			}
			for _, phase := range tt.targets {
				runs[1].Status.Targets = append(runs[1].Status.Targets, v1alpha1.BackupTargetStatus{Phase: phase})
			}
			slot := at(t, tt.slot)
			var last backup.Success
			for _, s := range runs {
				last.See(s, at(t, "11-20T12:00:00"))
			}
			g.Expect(last).To(Equal(backup.Success{Ended: slot.Add(10 * time.Minute), Slot: slot}))
		})
	}
}
