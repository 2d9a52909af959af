package session_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
)

func ready(name string) session.StartTarget {
	return session.StartTarget{Resolved: target(name, "target")}
}

func waiting(name, reason string, wait time.Duration) session.StartTarget {
	return session.StartTarget{Resolved: broken(name, reason), Wait: wait}
}

func TestStartOfABackup(t *testing.T) {
	tests := map[string]struct {
		start       session.Start
		annotations map[string]string
		deleted     bool
		phase       v1alpha1.BackupSessionPhase
		reason      string
		event       string
		after       time.Duration
	}{
		"everything exists": {
			start: session.Start{Targets: []session.StartTarget{ready("a"), ready("b")}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"no invoker": {
			start: session.Start{
				Refused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonInvokerNotFound, Message: "m"},
			},
			phase: backupFailed, reason: v1alpha1.ReasonInvokerNotFound, event: v1alpha1.ReasonInvokerNotFound,
		},
		"a CronJob of another session": {
			start: session.Start{CronJob: "mine"}, annotations: map[string]string{v1alpha1.AnnotationCronJob: "other"},
			phase: backupFailed, reason: v1alpha1.ReasonNotPermitted, event: v1alpha1.ReasonNotPermitted,
		},
		"its own CronJob": {
			start:       session.Start{CronJob: "mine", Targets: []session.StartTarget{ready("a")}},
			annotations: map[string]string{v1alpha1.AnnotationCronJob: "mine"},
			phase:       backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"too late": {
			start: session.Start{Deadline: now.Add(-time.Second), Targets: []session.StartTarget{ready("a")}},
			phase: backupSkipped, reason: v1alpha1.ReasonStartingDeadlineExceeded,
			event: v1alpha1.ReasonStartingDeadlineExceeded,
		},
		"just in time": {
			start: session.Start{Deadline: now, Targets: []session.StartTarget{ready("a")}},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"policy is being applied": {
			start: session.Start{
				Since: now.Add(-25 * time.Second), PolicyApplying: true, Targets: []session.StartTarget{ready("a")},
			},
			phase: backupPending, reason: v1alpha1.ReasonProgressing, event: v1alpha1.ReasonProgressing,
			after: 5 * time.Second,
		},
		"policy is being applied for too long": {
			start: session.Start{
				Since: now.Add(-session.WaitForPolicy), PolicyApplying: true,
				Targets: []session.StartTarget{ready("a")},
			},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"a repository is on its way": {
			start: session.Start{
				Since: now,
				Targets: []session.StartTarget{
					ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute),
				},
			},
			phase: backupPending, reason: v1alpha1.ReasonRepositoryNotReady, event: v1alpha1.ReasonRepositoryNotReady,
			after: 10 * time.Second,
		},
		"a repository that never came": {
			start: session.Start{
				Since: now.Add(-time.Minute),
				Targets: []session.StartTarget{
					ready("a"), waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute),
				},
			},
			phase: backupRunning, reason: v1alpha1.ReasonRunning, event: session.ReasonStarted,
		},
		"waiting never passes the starting deadline": {
			start: session.Start{
				Since: now, Deadline: now.Add(2 * time.Second),
				Targets: []session.StartTarget{waiting("b", v1alpha1.ReasonRepositoryNotReady, time.Minute)},
			},
			phase: backupPending, reason: v1alpha1.ReasonRepositoryNotReady, event: v1alpha1.ReasonRepositoryNotReady,
			after: 3 * time.Second,
		},
		"deleted before it started": {
			start: session.Start{Targets: []session.StartTarget{ready("a")}}, deleted: true,
			phase: backupFailed, reason: v1alpha1.ReasonCancelled, event: v1alpha1.ReasonCancelled,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.BackupSession{
				ObjectMeta: metav1.ObjectMeta{Name: "run", Annotations: tt.annotations, Generation: 1},
			}
			if tt.deleted {
				s.DeletionTimestamp = &metav1.Time{Time: now}
			}
			d := session.Next(session.Input{Now: now, Session: s, Start: &tt.start})
			g.Expect(d.Status.Phase).To(Equal(tt.phase))
			g.Expect(d.Status.Reason).To(Equal(tt.reason))
			g.Expect(d.After).To(Equal(tt.after))
			g.Expect(d.Status.Resolved != nil).To(
				Equal(tt.phase == backupRunning), "a run is frozen when it starts, and only then")
			g.Expect(d.Create).To(BeEmpty(), "nothing is allowed to be made before the frozen state is stored")
			g.Expect(d.Event.Reason).To(Equal(tt.event))
			if tt.phase == backupRunning {
				g.Expect(d.Status.BackupDeadline.Time).To(Equal(now.Add(session.DefaultTimeout)))
				g.Expect(d.Status.Targets).To(HaveLen(len(tt.start.Targets)))
			}
			if tt.phase == backupPending {
				g.Expect(session.Since(d.Status.Conditions, now.Add(time.Hour))).To(Equal(now))
				s.Status = d.Status
				again := session.Next(session.Input{Now: now, Session: s, Start: &tt.start})
				g.Expect(again.Event).To(BeNil(), "the event must come only once")
				g.Expect(again.Status).To(Equal(d.Status))
			}
		})
	}
}
