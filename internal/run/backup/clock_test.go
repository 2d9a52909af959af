package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// A mover takes its times from the clock of its node. Times that decide come from the manager's clock.
func TestAWrongNodeClockDoesNotMoveASnapshot(t *testing.T) {
	const year = 365 * 24 * time.Hour
	now := runtest.Now.Add(time.Minute) // when decide looks
	for name, tt := range map[string]struct {
		off    time.Duration
		want   time.Duration
		skewed bool
	}{
		"a year ahead":            {year, 0, true},
		"a year behind":           {-year, -time.Minute, true},
		"a little ahead":          {2 * time.Second, 0, false},
		"between start and now":   {-30 * time.Second, -30 * time.Second, false},
		"a little before the run": {-62 * time.Second, -time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "target"))
			start := metav1.NewTime(runtest.Now)
			f.session.Status.StartTime = &start
			result := runtest.Succeeded("target")
			said := metav1.NewTime(now.Add(tt.off))
			result.Result.Components[0].CompletionTime = &said
			f.jobs = map[string]run.Job{runtest.Job("a", "target", 1): result}
			status := f.decide().Snapshots["snap-a"]
			g.Expect(status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
			g.Expect(status.SnapshotTime.Time).To(BeTemporally("==", now.Add(tt.want)))
			g.Expect(apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionClockSkewed)).
				To(Equal(tt.skewed))
			g.Expect(status.Components["target"].CompletionTime.Time).To(BeTemporally("==", said.Time),
				"what the mover said stays visible")
		})
	}
}

// A run that began while the manager's clock was a year ahead still has its timeout, and no more.
func TestARunThatBeganInTheFutureStillEnds(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for name, target := range map[string]v1alpha1.ResolvedTarget{
		"with the timeout of the run": runtest.Target("a", "pod-0"),
		"with the timeout of its target": func() v1alpha1.ResolvedTarget {
			t := runtest.Target("a", "pod-0")
			t.Timeout = &metav1.Duration{Duration: 30 * time.Minute}
			return t
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			f := frozen(target)
			f.step()
			s := &f.session.Status
			for _, at := range []*metav1.Time{s.StartTime, s.BackupDeadline, s.Targets[0].StartTime} {
				at.Time = at.Add(year)
			}
			f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
			f.step()
			g.Expect(f.session.Status.StartTime.Time).To(BeTemporally("==", f.at))
			f.at = f.at.Add(time.Hour)
			f.step()
			g.Expect(f.session.Status.Reason).To(Equal(v1alpha1.ReasonDeadlineExceeded))
		})
	}
}

func TestARetryIsNotPutOffByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f := partly(1, time.Hour)
	f.step()
	g.Expect(backup.RetryIn(f.session, f.at)).To(Equal(time.Hour))
	g.Expect(backup.RetryIn(f.session, f.at.AddDate(-1, 0, 0))).To(BeZero())
	g.Expect(backup.RetryIn(f.session, f.at.Add(2*time.Hour))).To(BeZero())
}

// The newest run stays also if the clock was behind when it ended, or ahead when an older one did.
func TestAWrongClockDoesNotChangeWhichRunIsTheNewest(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string][2]time.Duration{
		"the clock was behind": {time.Hour, -365 * 24 * time.Hour}, "the clock was ahead": {365 * 24 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var runs []*v1alpha1.BackupSession
			for i, name := range []string{"old", "new"} {
				s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{
					Name: name, CreationTimestamp: metav1.NewTime(runtest.Now.Add(time.Duration(i) * time.Hour)),
				}}
				s.Status.Phase = backupSucceeded
				s.Status.CompletionTime = &metav1.Time{Time: runtest.Now.Add(ends[i])}
				runs = append(runs, s)
			}
			NewWithT(t).Expect(backup.BeyondHistory(runs, 1)).To(HaveExactElements(HaveField("Name", "old")))
		})
	}
}
