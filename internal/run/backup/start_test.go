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
)

func ready(name string) backup.StartTarget {
	return backup.StartTarget{Resolved: runtest.Target(name, "target")}
}

func waiting(name, reason string, wait time.Duration) backup.StartTarget {
	return backup.StartTarget{Resolved: broken(name, reason), Wait: wait}
}

func TestStartOfABackup(t *testing.T) {
	tests := map[string]struct {
		start       backup.Start
		annotations map[string]string
		deleted     bool
		phase       v1alpha1.BackupSessionPhase
		reason      string
		event       string
		after       time.Duration
	}{
		"everything exists": {
			start: backup.Start{Targets: []backup.StartTarget{ready("a"), ready("b")}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"no invoker": {
			start: backup.Start{
				Refused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonInvokerNotFound, Message: "m"},
			},
			phase: backupFailed, reason: v1alpha1.ReasonInvokerNotFound, event: v1alpha1.ReasonInvokerNotFound,
		},
		"a CronJob of another session": {
			start: backup.Start{CronJob: "mine"}, annotations: map[string]string{v1alpha1.AnnotationCronJob: "other"},
			phase: backupFailed, reason: v1alpha1.ReasonNotPermitted, event: v1alpha1.ReasonNotPermitted,
		},
		"its own CronJob": {
			start:       backup.Start{CronJob: "mine", Targets: []backup.StartTarget{ready("a")}},
			annotations: map[string]string{v1alpha1.AnnotationCronJob: "mine"},
			phase:       backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"its own note": {
			start:       backup.Start{Targets: []backup.StartTarget{ready("a")}},
			annotations: map[string]string{v1alpha1.AnnotationRun: "uid-run"},
			phase:       backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"the note of another run, of which it is a copy": {
			start:       backup.Start{Targets: []backup.StartTarget{ready("a")}},
			annotations: map[string]string{v1alpha1.AnnotationRun: "uid-old"},
			phase:       backupSkipped, reason: v1alpha1.ReasonCopyOfRun, event: v1alpha1.ReasonCopyOfRun,
		},
		"too late": {
			start: backup.Start{Deadline: runtest.Now.Add(-time.Second), Targets: []backup.StartTarget{ready("a")}},
			phase: backupSkipped, reason: v1alpha1.ReasonStartingDeadlineExceeded,
			event: v1alpha1.ReasonStartingDeadlineExceeded,
		},
		"just in time": {
			start: backup.Start{Deadline: runtest.Now, Targets: []backup.StartTarget{ready("a")}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"policy is being applied": {
			start: backup.Start{
				Since: runtest.Now.Add(-25 * time.Second), PolicyApplying: true,
				Targets: []backup.StartTarget{ready("a")},
			},
			phase: backupPending, reason: v1alpha1.ReasonProgressing, event: v1alpha1.ReasonProgressing,
			after: 5 * time.Second,
		},
		"policy is being applied for too long": {
			start: backup.Start{
				Since: runtest.Now.Add(-run.WaitForPolicy), PolicyApplying: true,
				Targets: []backup.StartTarget{ready("a")},
			},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"a repository is on its way": {
			start: backup.Start{
				Since: runtest.Now,
				Targets: []backup.StartTarget{
					ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute),
				},
			},
			phase: backupPending, reason: v1alpha1.ReasonRepositoryNotReady, event: v1alpha1.ReasonRepositoryNotReady,
			after: 10 * time.Second,
		},
		"a repository that never came": {
			start: backup.Start{
				Since: runtest.Now.Add(-time.Minute),
				Targets: []backup.StartTarget{
					ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute),
				},
			},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"waiting for a target ends before the starting deadline": {
			start: backup.Start{
				Since: runtest.Now, Deadline: runtest.Now.Add(16 * time.Second),
				Targets: []backup.StartTarget{
					ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute),
				},
			},
			phase: backupPending, reason: v1alpha1.ReasonRepositoryNotReady, event: v1alpha1.ReasonRepositoryNotReady,
			after: 10 * time.Second,
		},
		"the starting deadline is near": {
			start: backup.Start{
				Since: runtest.Now.Add(-time.Minute), Deadline: runtest.Now.Add(10 * time.Second),
				Targets: []backup.StartTarget{
					ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, 5*time.Minute),
				},
			},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"the starting deadline is near while policy is being applied": {
			start: backup.Start{
				Since: runtest.Now.Add(-20 * time.Second), Deadline: runtest.Now.Add(5 * time.Second),
				PolicyApplying: true, Targets: []backup.StartTarget{ready("a")},
			},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: run.ReasonStarted,
		},
		"waiting for another run never passes the starting deadline": {
			start: backup.Start{
				Since: runtest.Now, Deadline: runtest.Now.Add(2 * time.Second), HooksOf: "other",
				Targets: []backup.StartTarget{ready("a")},
			},
			phase: backupPending, reason: v1alpha1.ReasonHooksInProgress, event: v1alpha1.ReasonHooksInProgress,
			after: 3 * time.Second,
		},
		"deleted before it started": {
			start: backup.Start{Targets: []backup.StartTarget{ready("a")}}, deleted: true,
			phase: backupFailed, reason: v1alpha1.ReasonCancelled, event: v1alpha1.ReasonCancelled,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.BackupSession{
				ObjectMeta: metav1.ObjectMeta{
					Name: "run", UID: "uid-run", Annotations: tt.annotations, Generation: 1,
				},
			}
			if tt.deleted {
				s.DeletionTimestamp = &metav1.Time{Time: runtest.Now}
			}
			d := backup.Next(backup.Input{Now: runtest.Now, Session: s, Start: &tt.start})
			g.Expect(d.Status.Phase).To(Equal(tt.phase))
			g.Expect(d.Status.Reason).To(Equal(tt.reason))
			g.Expect(d.After).To(Equal(tt.after))
			g.Expect(d.Status.Resolved != nil).To(
				Equal(tt.phase == backupRunning), "a run is frozen when it starts, and only then")
			g.Expect(d.Create).To(BeEmpty(), "nothing is allowed to be made before the frozen state is stored")
			g.Expect(d.Event.Reason).To(Equal(tt.event))
			if tt.phase == backupRunning {
				g.Expect(d.Status.BackupDeadline).To(BeNil(), "it has no timeout")
				g.Expect(d.Status.Targets).To(HaveLen(len(tt.start.Targets)))
			}
			if tt.phase == backupPending {
				g.Expect(run.Since(d.Status.Conditions, runtest.Now.Add(time.Hour))).To(Equal(runtest.Now))
				s.Status = d.Status
				again := backup.Next(backup.Input{Now: runtest.Now, Session: s, Start: &tt.start})
				g.Expect(again.Event).To(BeNil(), "the event must come only once")
				g.Expect(again.Status).To(Equal(d.Status))
			}
		})
	}
}

func TestTiming(t *testing.T) {
	slot := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(s string) *v1alpha1.SchedulerSpec { return &v1alpha1.SchedulerSpec{Schedule: s} }
	within := at("0 3 * * *")
	within.StartingDeadlineSeconds = new(int64(60))
	for name, tt := range map[string]struct {
		scheduler *v1alpha1.SchedulerSpec
		byHand    bool
		line      string
		want      time.Time
	}{
		"until the next slot": {scheduler: at("0 3 * * *"), line: "0 3 * * *", want: slot.AddDate(0, 0, 1)},
		"a slot that comes soon": {
			scheduler: at("*/5 * * * *"), line: "*/5 * * * *", want: slot.Add(15 * time.Minute),
		},
		"the scheduler has a deadline":    {scheduler: within, line: "0 3 * * *", want: slot.Add(time.Minute)},
		"the schedule cannot be read":     {scheduler: at("never"), want: slot.AddDate(0, 0, 1)},
		"the session has no schedule now": {want: slot.AddDate(0, 0, 1)},
		"somebody started the run":        {scheduler: at("0 3 * * *"), byHand: true, line: "0 3 * * *"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.BackupSession{}
			if !tt.byHand {
				s.Spec.ScheduledTime = &metav1.Time{Time: slot}
			}
			line, deadline := backup.Timing(s, tt.scheduler)
			g.Expect(line).To(Equal(tt.line))
			g.Expect(deadline).To(BeTemporally("==", tt.want))
		})
	}
}

func TestTimeoutOf(t *testing.T) {
	hour, minute := &metav1.Duration{Duration: time.Hour}, &metav1.Duration{Duration: time.Minute}
	for name, tt := range map[string]struct {
		own, session *metav1.Duration
		want         time.Duration
	}{
		"its own":       {minute, hour, time.Minute},
		"its session's": {nil, hour, time.Hour},
		"none":          {nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.BackupSession{Spec: v1alpha1.BackupSessionSpec{BackupTimeout: tt.own}}
			NewWithT(t).Expect(backup.TimeoutOf(s, &v1alpha1.SessionConfig{BackupTimeout: tt.session})).
				To(Equal(tt.want))
		})
	}
}
