package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// Slots are at minute 0 of each hour; the clock stands at 2 o'clock.
func TestLate(t *testing.T) {
	t.Parallel()
	now := runtest.Now
	at := func(minutes int) *metav1.Time {
		return &metav1.Time{Time: now.Add(time.Duration(minutes) * time.Minute)}
	}
	ran := func(slot, end int) *v1alpha1.BackupSession {
		s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *at(slot)}}
		s.Spec.ScheduledTime, s.Status.Phase, s.Status.CompletionTime = at(slot), backupSucceeded, at(end)
		return s
	}
	failed := ran(-60, -50)
	failed.Status.Phase = backupFailed
	future := ran(-120, -110)
	future.Spec.ScheduledTime, future.Status.CompletionTime = at(365*24*60), at(365*24*60)
	const never = -1 << 20
	for name, tt := range map[string]struct {
		runs         []*v1alpha1.BackupSession
		success      *metav1.Time
		since        *metav1.Time
		owed         *metav1.Time
		timeout      time.Duration
		line         string
		unscheduled  bool
		want         int // minutes from now
		neverBefore  bool
		suspendedToo bool
		impossible   bool
	}{
		"the slot of the last success counts": {runs: []*v1alpha1.BackupSession{ran(-120, -30)}, want: -60},
		"a failure is none":                   {runs: []*v1alpha1.BackupSession{ran(-120, -30), failed}, want: -60},
		"the end of a run that was deleted":   {success: at(-30), want: 0},
		"a deleted run after one that exists": {
			runs: []*v1alpha1.BackupSession{ran(-180, -170)}, success: at(-65), want: -60,
		},
		"the status knows the run that exists": {
			runs: []*v1alpha1.BackupSession{ran(-120, -30)}, success: at(-30), want: -60,
		},
		"no success yet": {since: at(-90), want: -60, neverBefore: true},
		"without a timeout": {
			runs: []*v1alpha1.BackupSession{ran(-120, -30)}, timeout: never, want: -60 + int(run.LateAfter.Minutes()),
		},
		"a suspended schedule": {runs: []*v1alpha1.BackupSession{ran(-120, -30)}, want: -60, suspendedToo: true},
		"a success of a clock that was ahead": {
			runs: []*v1alpha1.BackupSession{future}, success: at(365 * 24 * 60), want: -60,
		},
		"a schedule of a clock that was ahead": {since: at(365 * 24 * 60), want: 60, neverBefore: true},
		"no schedule": {
			runs: []*v1alpha1.BackupSession{ran(-120, -30)}, unscheduled: true, want: never,
		},
		"a slot from before the schedule changed": {
			runs: []*v1alpha1.BackupSession{ran(-120, -110)}, since: at(-30), want: 0,
		},
		"a slot that an earlier schedule owes, and a period of this one": {
			runs: []*v1alpha1.BackupSession{ran(-180, -170)}, since: at(-30), owed: at(-125), want: -110,
		},
		"a slot that an earlier schedule owes": {
			runs: []*v1alpha1.BackupSession{ran(-240, -230)}, since: at(-30), owed: at(-125), want: -125,
		},
		"a slot that an earlier schedule owes, and none of this one": {
			runs: []*v1alpha1.BackupSession{ran(-180, -170)}, since: at(-30), owed: at(-125), line: "0 3 * * *",
			want: 60,
		},
		"a run that worked in that slot": {
			runs: []*v1alpha1.BackupSession{ran(-180, -100)}, since: at(-30), owed: at(-125), want: 0,
		},
		"that slot has had its success": {
			runs: []*v1alpha1.BackupSession{ran(-60, -50)}, since: at(-90), owed: at(-125), want: 0,
		},
		"no success yet, and one is owed":        {since: at(-30), owed: at(-125), want: -125, neverBefore: true},
		"a schedule that never was readable":     {since: at(-90), impossible: true, want: -90, neverBefore: true},
		"a run by hand does not mend a schedule": {success: at(-30), impossible: true, want: -30},
		"a schedule that nobody can read":        {success: at(-30), line: "never", want: never},
		"nothing is known":                       {want: never, neverBefore: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			status := &v1alpha1.SessionStatus{
				Schedule: "0 * * * *", LastSuccessTime: tt.success, ScheduledSince: tt.since, OwedSlot: tt.owed,
			}
			if tt.line != "" {
				status.Schedule = tt.line
			}
			config := &v1alpha1.SessionConfig{
				Scheduler:     &v1alpha1.SchedulerSpec{Suspend: &tt.suspendedToo},
				BackupTimeout: &metav1.Duration{Duration: tt.timeout},
			}
			if tt.timeout == never {
				config.BackupTimeout = nil
			}
			if tt.unscheduled || tt.impossible {
				status.Schedule = ""
			}
			if tt.unscheduled {
				config.Scheduler = nil
			}
			if tt.impossible {
				config.Scheduler.Schedule = "0 0 30 2 *"
			}
			var last backup.Success
			for _, r := range tt.runs {
				last.See(r, now)
			}
			due, ok := backup.SuccessDue(status, config, last, now, schedule.Next)
			g.Expect(ok).To(Equal(tt.want != never))
			if ok {
				g.Expect(due).To(BeTemporally("==", at(tt.want).Time))
			}
			_, none := backup.WaitsSince(status, last, now)
			g.Expect(none).To(Equal(tt.neverBefore))
		})
	}
}
