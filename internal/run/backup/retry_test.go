package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// partly returns a run of two targets, the second of which failed.
func partly(retryLeft int32, delay time.Duration) *fixture {
	f := frozen(runtest.Target("a", "pod-0"), runtest.Target("b", "pod-0"))
	f.session.Spec.RetryLeft = retryLeft
	f.session.Status.Resolved.Policy.Digest = "sha256:1"
	if delay > 0 {
		f.session.Status.Resolved.RetryDelay = &metav1.Duration{Duration: delay}
	}
	f.step()
	f.jobs[runtest.Job("a", "pod-0", 1)], f.jobs[runtest.Job("b", "pod-0", 1)] = runtest.Succeeded("pod-0"),
		runtest.Failed(v1alpha1.ReasonUnreadable)
	return f
}

func TestWhatFailedIsTriedAgain(t *testing.T) {
	tests := map[string]struct {
		left    int32
		delay   time.Duration
		edit    func(*fixture)
		want    time.Duration
		retried bool
	}{
		"never":   {},
		"at once": {left: 1, retried: true},
		"later":   {left: 2, delay: 90 * time.Second, want: 90 * time.Second, retried: true},
		"a run that succeeded": {
			left: 1, edit: func(f *fixture) { f.jobs[runtest.Job("b", "pod-0", 1)] = runtest.Succeeded("pod-0") },
		},
		"a cancelled run": {
			left: 1, edit: func(f *fixture) { f.session.DeletionTimestamp = &metav1.Time{Time: runtest.Now} },
		},
		"a run that took too long": {left: 1, retried: true, edit: func(f *fixture) {
			f.jobs[runtest.Job("b", "pod-0", 1)] = runtest.Running()
			f.at = f.session.Status.BackupDeadline.Time
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := partly(tt.left, tt.delay)
			if tt.edit != nil {
				tt.edit(f)
			}
			d := f.step()
			g.Expect(d.Status.Phase.Terminal()).To(BeTrue())
			g.Expect(backup.RetryPending(f.session)).To(Equal(tt.retried))
			if tt.retried {
				g.Expect(d.Status.NextRetry.Time).To(Equal(d.Status.CompletionTime.Add(tt.want)))
				g.Expect(d.Status.Retried).To(HaveValue(BeFalse()))
			}
		})
	}
}

func TestARunThatTriesAgain(t *testing.T) {
	f := partly(1, time.Minute)
	f.session.Status.Resolved.Schedule = "17 * * * *"
	f.step()
	of := f.session
	of.UID = "1"
	next := func(edit ...func(*v1alpha1.BackupSession)) *v1alpha1.BackupSession {
		s := &v1alpha1.BackupSession{
			ObjectMeta: metav1.ObjectMeta{Name: "run-r1"}, Spec: v1alpha1.BackupSessionSpec{RetryOf: "run"},
		}
		for _, e := range edit {
			e(s)
		}
		return s
	}
	live := []backup.StartTarget{ready("a"), {Resolved: runtest.Target("b", "pod-0", "pod-1")}}
	start := func(digest string) *backup.Start {
		return &backup.Start{
			Policy: v1alpha1.ResolvedPolicy{Digest: digest}, Timeout: time.Minute, Schedule: "other",
			PolicyApplying: true, Targets: live,
		}
	}

	t.Run("with the same policy it takes the failed targets as they are now", func(t *testing.T) {
		g := NewWithT(t)
		s := start("sha256:1")
		s.Again(next(), of, s.Targets)
		g.Expect(s.Targets).To(Equal(live[1:]))
		g.Expect(s.Timeout).To(Equal(time.Hour))
		g.Expect(s.Schedule).To(Equal("17 * * * *"))
		g.Expect(s.RetryDelay.Duration).To(Equal(time.Minute))
		g.Expect(s.RestorePointTime.Time).To(Equal(backup.SlotOf(of)))
		g.Expect(s.PolicyApplying).To(BeFalse(), "a retry must not wait for the policy")
	})
	t.Run("with another policy it takes them as they were", func(t *testing.T) {
		g := NewWithT(t)
		s := start("sha256:2")
		s.Again(next(), of, s.Targets)
		g.Expect(s.Policy.Digest).To(Equal("sha256:1"))
		g.Expect(s.Targets).To(HaveLen(1))
		want := runtest.Target("b", "pod-0")
		want.Repositories[0].Snapshot = "b-run-r1"
		g.Expect(s.Targets[0].Resolved).To(Equal(want))
		g.Expect(of.Status.Resolved.Targets[1].Repositories[0].Snapshot).To(
			Equal("snap-b"), "frozen targets must not change")
	})
	t.Run("with the same policy that has lost a target it takes it as it was", func(t *testing.T) {
		s := start("sha256:1")
		s.Again(next(), of, live[:1])
		NewWithT(t).Expect(s.Targets[0].Resolved.Repositories[0].Snapshot).To(Equal("b-run-r1"))
	})
	skipping := of.DeepCopy()
	skipping.Status.Resolved.Targets[0] = broken("a", v1alpha1.ReasonRestoreInProgress)
	skipping.Status.Targets[0].Phase = backupSkipped
	t.Run("it takes what was skipped, too", func(t *testing.T) {
		s := start("sha256:1")
		s.Again(next(), skipping, s.Targets)
		NewWithT(t).Expect(s.Targets).To(Equal(live), "else its success would count as a backup of both")
	})
	t.Run("with another policy it skips again what was skipped", func(t *testing.T) {
		g := NewWithT(t)
		s := start("sha256:2")
		s.Again(next(), skipping, s.Targets)
		g.Expect(s.Targets).To(HaveLen(2))
		g.Expect(s.Targets[0].Resolved).To(Equal(skipping.Status.Resolved.Targets[0]))
	})
	t.Run("its own timeout counts", func(t *testing.T) {
		s := start("sha256:1")
		short := func(s *v1alpha1.BackupSession) { s.Spec.BackupTimeout = &metav1.Duration{Duration: time.Minute} }
		s.Again(next(short), of, live)
		NewWithT(t).Expect(s.Timeout).To(Equal(time.Minute))
	})
	t.Run("which runs can be retried", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(backup.WhyNotRetryable(next(), of)).To(BeEmpty())
		g.Expect(backup.WhyNotRetryable(next(), nil)).To(Equal("there is no BackupSession run"))
		g.Expect(backup.WhyNotRetryable(next(func(s *v1alpha1.BackupSession) { s.Spec.Session = "other" }), of)).To(
			ContainSubstring("of another session"))
		succeeded := of.DeepCopy()
		succeeded.Status.Phase = backupSucceeded
		g.Expect(backup.WhyNotRetryable(next(), succeeded)).To(ContainSubstring("nothing failed"))
		refused := of.DeepCopy()
		refused.Status.Resolved = nil
		g.Expect(backup.WhyNotRetryable(next(), refused)).To(ContainSubstring("nothing failed"))
	})
	t.Run("a later run of the session makes it needless", func(t *testing.T) {
		g := NewWithT(t)
		of.CreationTimestamp = metav1.NewTime(runtest.Now)
		superseded := func(others ...*v1alpha1.BackupSession) bool {
			var list []v1alpha1.BackupSession
			for _, o := range others {
				list = append(list, *o)
			}
			return backup.Superseded(of, list, runtest.Now) != nil
		}
		g.Expect(superseded()).To(BeFalse())
		g.Expect(superseded(another("x", time.Second))).To(BeTrue())
		g.Expect(superseded(another("x", -time.Second))).To(BeFalse(), "an earlier run does not count")
		g.Expect(superseded(another("x", 365*24*time.Hour))).To(BeFalse(), "a clock that was ahead has dated it")
		of.CreationTimestamp = metav1.NewTime(runtest.Now.Add(10 * time.Minute))
		g.Expect(superseded(another("x", 11*time.Minute))).To(BeTrue(), "the manager is behind")
		of.CreationTimestamp = metav1.NewTime(runtest.Now)
		skipped := func(s *v1alpha1.BackupSession) { s.Status.Phase = backupSkipped }
		g.Expect(superseded(another("x", time.Second, skipped))).To(BeFalse(), "a skipped run does not count")
		g.Expect(superseded(another("x", time.Second, ended))).To(BeFalse(), "nothing tries it again")
		pending := func(s *v1alpha1.BackupSession) { s.Status.NextRetry, s.Status.Retried = &metav1.Time{}, new(false) }
		g.Expect(superseded(another("x", time.Second, ended, pending))).To(BeTrue(), "it is tried again")
		retried := func(s *v1alpha1.BackupSession) { s.Status.Retried = new(true) }
		g.Expect(superseded(another("x", time.Second, ended, retried))).To(BeTrue(), "it was tried again")
		goes := func(s *v1alpha1.BackupSession) { s.DeletionTimestamp = &metav1.Time{Time: runtest.Now} }
		g.Expect(superseded(another("x", time.Second, ended, goes))).To(BeFalse(), "somebody has ended it")
		running := another("x", time.Second, started)
		g.Expect(superseded(running, another("y", 2*time.Second, ended))).To(BeTrue(), "it has not ended yet")
		by := backup.Superseded(of, []v1alpha1.BackupSession{*running, *another("y", 2*time.Second, ended, retried)},
			runtest.Now)
		g.Expect(by.Name).To(Equal("y"), "nothing that still runs can change that")
		foreign := func(s *v1alpha1.BackupSession) { s.Spec.Session = "other" }
		g.Expect(superseded(another("x", time.Second, foreign))).To(BeFalse())
		g.Expect(superseded(another("x", time.Second, func(s *v1alpha1.BackupSession) { s.Spec.RetryOf = "run" }))).To(
			BeFalse())
	})
}

// A retry waits for a later run that can make it needless. Its starting deadline counts from the end of that run.
func TestWhenARetryIsDue(t *testing.T) {
	t.Parallel()
	due := runtest.Now.Add(time.Minute)
	of := another("run", 0, ended)
	of.UID, of.Status.NextRetry = "1", &metav1.Time{Time: due}
	at := func(minutes int) func(*v1alpha1.BackupSession) {
		return func(s *v1alpha1.BackupSession) {
			s.Status.CompletionTime = &metav1.Time{Time: runtest.Now.Add(time.Duration(minutes) * time.Minute)}
		}
	}
	elsewhere := func(s *v1alpha1.BackupSession) { s.Spec.Session = "other" }
	for name, tt := range map[string]struct {
		other *v1alpha1.BackupSession
		want  time.Duration
	}{
		"no later run":                 {other: another("x", -time.Second, ended, at(60))},
		"a later run that failed":      {other: another("x", time.Second, ended, at(60)), want: 59 * time.Minute},
		"one that failed before":       {other: another("x", time.Second, ended, at(0))},
		"one of a clock that is ahead": {other: another("x", time.Second, ended, at(1e6)), want: 2 * time.Hour},
		"a run of another session":     {other: another("x", time.Second, ended, at(60), elsewhere)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := []v1alpha1.BackupSession{*tt.other}
			NewWithT(t).Expect(backup.RetryDue(of, all, due.Add(2*time.Hour)).Sub(due)).To(Equal(tt.want))
		})
	}
}

func TestExpired(t *testing.T) {
	hour := func(n int) *metav1.Time { return &metav1.Time{Time: runtest.Now.Add(time.Duration(n) * time.Hour)} }
	made := func(name string, n int, phase v1alpha1.BackupSessionPhase,
		edit ...func(*v1alpha1.BackupSession),
	) *v1alpha1.BackupSession {
		s := another(name, 0, edit...)
		s.Status.Phase, s.Status.CompletionTime = phase, hour(n)
		return s
	}
	held := func(s *v1alpha1.BackupSession) { s.Finalizers = []string{v1alpha1.FinalizerRecord} }
	pending := func(s *v1alpha1.BackupSession) { s.Status.NextRetry, s.Status.Retried = hour(9), new(false) }
	retried := func(s *v1alpha1.BackupSession) { s.Status.NextRetry, s.Status.Retried = hour(9), new(true) }
	runs := []*v1alpha1.BackupSession{
		made("1", 1, backupSucceeded), made("2", 2, backupSucceeded), made("3", 3, backupFailed, held),
		made("4", 4, backupFailed, pending),
		made("5", 5, backupFailed, retried), made("6", 6, backupSkipped), made("7", 7, backupFailed, retried),
		made("8", 8, backupFailed),
		another("9", 0, started), another("7-r1", 0, func(s *v1alpha1.BackupSession) { s.Spec.RetryOf = "7" }),
	}
	for limit, want := range map[int][]string{
		0: {"8", "6", "5", "1"}, 1: {"6", "5", "1"}, 2: {"6", "5", "1"},
		3: {"5", "1"}, 8: nil,
	} {
		g := NewWithT(t)
		var got []string
		for _, s := range backup.BeyondHistory(runs, limit, runtest.Now.AddDate(10, 0, 0)) {
			got = append(got, s.Name)
		}
		g.Expect(got).To(Equal(want), "limit %d", limit)
	}
}
