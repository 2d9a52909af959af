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

// another returns another run of the session, created later than the run under test by this duration.
func another(name string, later time.Duration, edit ...func(*v1alpha1.BackupSession)) *v1alpha1.BackupSession {
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(runtest.Now.Add(later))},
	}
	for _, e := range edit {
		e(s)
	}
	return s
}

func started(s *v1alpha1.BackupSession) {
	s.Status.Phase, s.Status.Resolved = backupRunning, &v1alpha1.ResolvedBackup{}
}

func ended(s *v1alpha1.BackupSession) { s.Status.Phase = backupFailed }

func replacedBy(name string) func(*v1alpha1.BackupSession) {
	return func(s *v1alpha1.BackupSession) {
		s.Annotations = map[string]string{v1alpha1.AnnotationReplacedBy: backup.FormatReplacedBy(name, runtest.Now)}
	}
}

func TestConcurrency(t *testing.T) {
	const allow, forbid, replace = v1alpha1.ConcurrencyAllow, v1alpha1.ConcurrencyForbid, v1alpha1.ConcurrencyReplace
	tests := map[string]struct {
		policy   v1alpha1.ConcurrencyPolicy
		rivals   []*v1alpha1.BackupSession
		made     time.Duration
		retry    bool
		deadline time.Duration
		was      string
		wait     bool
		broken   bool
		phase    v1alpha1.BackupSessionPhase
		reason   string
		replace  []string
	}{
		"alone": {policy: forbid, phase: backupRunning, reason: v1alpha1.ReasonRunning},
		"no policy": {
			rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started)}, phase: backupRunning,
			reason: v1alpha1.ReasonRunning,
		},
		"allow": {
			policy: allow, rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started)}, phase: backupRunning,
			reason: v1alpha1.ReasonRunning,
		},
		"forbid: one runs": {
			policy: forbid,
			rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started)}, phase: backupSkipped,
			reason: v1alpha1.ReasonConcurrencyForbidden,
		},
		"forbid: an earlier one waits": {
			policy: forbid,
			rivals: []*v1alpha1.BackupSession{another("a", -time.Second)}, phase: backupSkipped,
			reason: v1alpha1.ReasonConcurrencyForbidden,
		},
		"forbid: a later one waits": {
			policy: forbid, rivals: []*v1alpha1.BackupSession{another("a", time.Second)},
			phase: backupRunning, reason: v1alpha1.ReasonRunning,
		},
		"forbid: a later one was faster": {
			policy: forbid,
			rivals: []*v1alpha1.BackupSession{another("a", time.Second, started)}, phase: backupSkipped,
			reason: v1alpha1.ReasonConcurrencyForbidden,
		},
		"forbid: two at once, the first by name goes": {
			policy: forbid,
			rivals: []*v1alpha1.BackupSession{another("z", 0)},
			phase:  backupRunning, reason: v1alpha1.ReasonRunning,
		},
		"forbid: two at once, the second does not": {
			policy: forbid, rivals: []*v1alpha1.BackupSession{another("a", 0)},
			phase: backupSkipped, reason: v1alpha1.ReasonConcurrencyForbidden,
		},
		"forbid: while it waits for its repository": {
			policy: forbid, wait: true,
			rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started)},
			phase:  backupPending, reason: v1alpha1.ReasonRepositoryNotReady,
		},
		"replace: one runs": {
			policy: replace, rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started)},
			phase: backupPending, reason: v1alpha1.ReasonReplacing, replace: []string{"a"},
		},
		"replace: one runs that a clock a year ahead has dated": {
			policy: replace, rivals: []*v1alpha1.BackupSession{another("a", 365*24*time.Hour, started)},
			phase: backupPending, reason: v1alpha1.ReasonReplacing, replace: []string{"a"},
		},
		"replace: one waits that a clock a year ahead has dated": {
			policy: replace, rivals: []*v1alpha1.BackupSession{another("a", 365*24*time.Hour)},
			phase: backupPending, reason: v1alpha1.ReasonReplacing, replace: []string{"a"},
		},
		"replace: a clock a year ahead has dated this one, and a later one waits": {
			policy: replace, made: 365 * 24 * time.Hour, rivals: []*v1alpha1.BackupSession{another("b", 0)},
			phase: backupRunning, reason: v1alpha1.ReasonRunning,
		},
		"replace: the manager is behind, and one runs": {
			policy: replace, made: 10 * time.Minute, rivals: []*v1alpha1.BackupSession{another("a", 0, started)},
			phase: backupPending, reason: v1alpha1.ReasonReplacing, replace: []string{"a"},
		},
		"replace: one runs and one waits": {
			policy: replace, rivals: []*v1alpha1.BackupSession{
				another("a", -time.Hour, started), another("b", -time.Minute),
			},
			phase: backupPending, reason: v1alpha1.ReasonReplacing, replace: []string{"a", "b"},
		},
		"replace: the rival is already being replaced": {
			policy: replace, rivals: []*v1alpha1.BackupSession{
				another("a", -time.Hour, started, replacedBy("run")),
			},
			phase: backupPending, reason: v1alpha1.ReasonReplacing,
		},
		"replace: nobody is in the way any more": {
			policy: replace, phase: backupRunning, reason: v1alpha1.ReasonRunning,
		},
		"replace: a later one waits": {
			policy: replace, rivals: []*v1alpha1.BackupSession{another("b", time.Second)}, phase: backupRunning,
			reason: v1alpha1.ReasonRunning,
		},
		"replace: a later one was faster": {
			policy: replace, rivals: []*v1alpha1.BackupSession{
				another("b", time.Second, started),
			},
			phase: backupFailed, reason: v1alpha1.ReasonReplaced,
		},
		"replace: a retry takes nobody's place": {
			policy: replace, retry: true, rivals: []*v1alpha1.BackupSession{
				another("a", -time.Hour, started),
			},
			phase: backupSkipped, reason: v1alpha1.ReasonConcurrencyForbidden,
		},
		"replace: nothing can be backed up": {
			policy: replace, broken: true, rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started)},
			phase: backupRunning, reason: v1alpha1.ReasonRunning,
		},
		"forbid: nothing can be backed up": {
			policy: forbid, broken: true, rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started)},
			phase: backupSkipped, reason: v1alpha1.ReasonConcurrencyForbidden,
		},
		"replace: too late": {
			policy: replace, deadline: -time.Second, rivals: []*v1alpha1.BackupSession{
				another("a", -time.Hour, started),
			},
			phase: backupSkipped, reason: v1alpha1.ReasonStartingDeadlineExceeded,
		},
		"replace: too late once it has ended the other": {
			policy: replace, deadline: -time.Second,
			rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, started, replacedBy("run"))},
			phase:  backupPending, reason: v1alpha1.ReasonReplacing,
		},
		"replace: too late once the other has ended": {
			policy: replace, deadline: -time.Second,
			rivals: []*v1alpha1.BackupSession{another("a", -time.Hour, ended, replacedBy("run"))},
			phase:  backupRunning, reason: v1alpha1.ReasonRunning,
		},
		"replace: too late once the other is gone": {
			policy: replace, deadline: -time.Second, was: v1alpha1.ReasonReplacing,
			phase: backupRunning, reason: v1alpha1.ReasonRunning,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := another("run", tt.made)
			s.Status.Reason = tt.was
			if tt.retry {
				s.Spec.RetryOf = "other"
			}
			start := &backup.Start{
				Since: runtest.Now, Targets: []backup.StartTarget{ready("a")},
				Rivals: backup.Rivals{Policy: tt.policy, Runs: tt.rivals},
			}
			if tt.wait {
				start.Targets = []backup.StartTarget{waiting("a", v1alpha1.ReasonRepositoryNotReady, time.Minute)}
			}
			if tt.broken {
				start.Targets = []backup.StartTarget{waiting("a", v1alpha1.ReasonTargetNotFound, 0)}
			}
			if tt.deadline != 0 {
				start.Deadline = runtest.Now.Add(tt.deadline)
			}
			d := backup.Next(backup.Input{Now: runtest.Now, Session: s, Start: start})
			g.Expect(string(d.Status.Phase) + "/" + d.Status.Reason).To(Equal(string(tt.phase) + "/" + tt.reason))
			g.Expect(d.Replace).To(Equal(tt.replace))
			g.Expect(d.Status.Resolved != nil).To(Equal(tt.phase == backupRunning))
			if tt.phase == backupPending {
				g.Expect(d.After).To(BeNumerically(">", 0), "it must look again")
			}
		})
	}
}

// A replaced run ends like a deleted one, with its own reason, and is not tried again.
func TestReplaced(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "pod-0", "pod-1"))
	f.session.Spec.RetryLeft = 3
	f.step()
	replacedBy("next")(f.session)
	f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
	f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Running()
	f.at = runtest.Now.Add(time.Second)
	d := f.decide()
	g.Expect(d.Status.Phase).To(Equal(backupRunning))
	g.Expect(d.Delete).To(ConsistOf(runtest.Job("a", "pod-0", 1), runtest.Job("a", "pod-1", 1)), "its movers go first")
	g.Expect(d.Create).To(BeEmpty())

	f.at = runtest.Now.Add(run.WaitForPods)
	d = f.step()
	g.Expect(d.Status.Phase).To(Equal(backupFailed), "even if a pod never ends")
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonReplaced))
	g.Expect(d.Event.Message).To(ContainSubstring("BackupSession next replaces this run"))
	g.Expect(d.Status.NextRetry).To(BeNil())
	g.Expect(f.component("a", "pod-0").Phase).To(
		Equal(v1alpha1.SnapshotSucceeded), "finished components stay as they are")
	g.Expect(f.component("a", "pod-1").Reason).To(Equal(v1alpha1.ReasonReplaced))

	waits := another("run", 0, replacedBy("next"))
	d = backup.Next(backup.Input{
		Now: runtest.Now, Session: waits, Start: &backup.Start{Targets: []backup.StartTarget{ready("a")}},
	})
	g.Expect(string(d.Status.Phase) + "/" + d.Status.Reason).To(Equal("Failed/Replaced"))
}
