package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/restore"
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
			now := runtest.Now.Add(2 * time.Hour)
			NewWithT(t).Expect(backup.BeyondHistory(runs, 1, now)).To(HaveExactElements(HaveField("Name", "old")))
		})
	}
}

// byClockOff returns the Snapshot of a run at a true time, while the manager's clock was off. The clocks of the API
// server and of the mover's node are right. known says that the manager compared its clock with the API server's when
// it wrote the time of the Snapshot; earlier managers did not.
func byClockOff(t *testing.T, name string, at time.Time, off time.Duration, known bool) v1alpha1.Snapshot {
	t.Helper()
	g, wrong, created := NewWithT(t), at.Add(off), metav1.NewTime(at)
	f := frozen(runtest.Target("a", "target"))
	f.at = wrong.Add(time.Minute)
	f.session.Status.StartTime = &metav1.Time{Time: wrong}
	f.session.Status.BackupDeadline = nil
	f.session.Status.Targets[0].StartTime = &metav1.Time{Time: wrong}
	if known {
		f.snapshots["snap-a"].CreationTimestamp = created
	}
	done := runtest.Succeeded("target")
	done.Created = at
	done.Result.Components[0].CompletionTime = &metav1.Time{Time: at.Add(30 * time.Second)}
	f.jobs = map[string]run.Job{runtest.Job("a", "target", 1): done}
	s := v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: created},
		Spec: v1alpha1.SnapshotSpec{
			Repository: "web", BackupSession: name, Session: "nightly", SnapshotID: backup.SnapshotID(wrong, name),
		},
		Status: f.decide().Snapshots["snap-a"],
	}
	g.Expect(s.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	if known {
		g.Expect(s.Status.SnapshotTime.Time).To(BeTemporally("==", at.Add(30*time.Second)))
		g.Expect(apimeta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionClockSkewed)).To(Equal(off != 0))
	}
	g.Expect(s.MadeAt().Time).To(BeTemporally("==", at.Add(30*time.Second)))
	return s
}

// The manager's clock is a year ahead for a minute, and a run that begins in it succeeds. The clock is put right. From
// then on each later backup is newer than that one.
func TestABackupOfAClockThatWasAheadIsNotTheNewestForAYear(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"by this manager": true, "by an earlier one": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			old := byClockOff(t, "old", runtest.Now, 365*24*time.Hour, known)
			today := byClockOff(t, "today", runtest.Now.Add(90*24*time.Hour), 0, known)
			now := today.CreationTimestamp.Add(time.Hour)
			latest, _ := restore.Latest([]v1alpha1.Snapshot{old, today}, "web", restore.Before{}, now)
			g.Expect(latest.Name).To(Equal("today"))
			p := retention.Policy{Rules: []retention.Rule{{Name: "last", Count: 1}}, Zone: time.UTC}
			for _, v := range p.Decide([]retention.Snapshot{
				retention.FromSnapshot(&old, ""), retention.FromSnapshot(&today, ""),
			}, now) {
				g.Expect(v.Goes()).To(Equal(v.Name == "old"), "%s: %s", v.Name, v.Message)
			}
		})
	}
}

// The manager's clock is 40 days behind for a night. Once it is put right, the backups of that night are not too old.
func TestABackupOfAClockThatWasBehindIsNotTooOld(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"by this manager": true, "by an earlier one": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			yesterday := byClockOff(t, "yesterday", runtest.Now, -40*24*time.Hour, known)
			today := byClockOff(t, "today", runtest.Now.Add(24*time.Hour), 0, known)
			p := retention.Policy{MaxAge: 30 * 24 * time.Hour, Zone: time.UTC}
			for _, v := range p.Decide([]retention.Snapshot{
				retention.FromSnapshot(&yesterday, ""), retention.FromSnapshot(&today, ""),
			}, runtest.Now.Add(30*time.Hour)) {
				g.Expect(v.Goes()).To(BeFalse(), "%s: %s", v.Name, v.Message)
			}
		})
	}
}

// The clocks of the manager and the API server were ahead during a run. Once they are right, the failure of a later run
// stays for the person who looks for it, and so does the last success before it.
func TestARunOfAClockThatWasAheadHidesNoFailureForAYear(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	ended := func(name string, at time.Time, phase v1alpha1.BackupSessionPhase) *v1alpha1.BackupSession {
		s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(at)}}
		s.Status.Phase, s.Status.CompletionTime = phase, &metav1.Time{Time: at.Add(time.Minute)}
		return s
	}
	year := runtest.Now.AddDate(1, 0, 0)
	runs := []*v1alpha1.BackupSession{
		ended("ahead", year, backupSucceeded), ended("ahead before", year.Add(-time.Hour), backupSucceeded),
		ended("before", runtest.Now.Add(-24*time.Hour), backupSucceeded),
		ended("today", runtest.Now.Add(24*time.Hour), backupFailed),
	}
	g.Expect(backup.BeyondHistory(runs, 1, runtest.Now.Add(25*time.Hour))).
		To(HaveExactElements(HaveField("Name", "ahead before")))
}

// The Job of a backup says of which Snapshot it is: the times of both can be of clocks that were wrong.
func TestAJobBelongsToTheSnapshotThatItNames(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		of      types.UID
		made    time.Duration
		succeed bool
	}{
		"of a Snapshot of a clock that was ahead":          {of: "uid", made: 365 * 24 * time.Hour, succeed: true},
		"of one that was made again":                       {of: "other", made: time.Second},
		"of one that was made again by a clock put back":   {of: "other", made: -time.Hour},
		"of an earlier version, older than the Snapshot":   {made: time.Second},
		"of an earlier version, younger than the Snapshot": {made: -time.Second, succeed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "target"))
			f.snapshots["snap-a"].UID = "uid"
			f.snapshots["snap-a"].CreationTimestamp = metav1.NewTime(f.at.Add(tt.made))
			done := runtest.Succeeded("target")
			done.Created, done.Snapshot = f.at, tt.of
			f.jobs = map[string]run.Job{runtest.Job("a", "target", 1): done}
			got := f.decide().Snapshots["snap-a"]
			if tt.succeed {
				g.Expect(got.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
				return
			}
			g.Expect(got.Components["target"].Reason).To(Equal(v1alpha1.ReasonSnapshotNotFound))
		})
	}
}
