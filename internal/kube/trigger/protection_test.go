package trigger

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A schedule that never fires promises a backup that never comes. The policy is from 10 o'clock.
func TestAnImpossibleScheduleProtectsNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		schedule, now string
		late          bool
	}{
		"there is time":             {schedule: "0 0 30 2 *", now: "11-20T15:59:00"},
		"no backup within its time": {schedule: "0 0 30 2 *", now: "11-20T16:01:00", late: true},
		"nobody can read it":        {schedule: "61 * * * *", now: "11-20T16:01:00", late: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := hourly(t, tt.now)
			b.created, b.previous = at(t, "11-20T10:00:00"), v1alpha1.SessionStatus{Name: "hourly"}
			b.config.Scheduler.Schedule = tt.schedule
			for range 2 {
				j := judge(b)
				g.Expect(j.protection).NotTo(BeNil(), "else the condition Protected is absent")
				g.Expect(j.protection.late).To(Equal(tt.late))
				g.Expect(j.protection.none).To(BeTrue())
				g.Expect(j.status.ScheduledSince).To(HaveValue(Equal(metav1.NewTime(b.created))))
				g.Expect(j.look.IsZero()).To(Equal(tt.late))
				b.previous = j.status
			}
			b.config.Scheduler.Schedule = "17 * * * *"
			j := judge(b)
			g.Expect(j.status.Schedule).To(Equal("17 * * * *"))
			g.Expect(j.status.ScheduledSince).To(HaveValue(Equal(metav1.NewTime(b.now).Rfc3339Copy())))
		})
	}
}

// A person retries the failed target of an old run. The other target has had no backup since that run.
func TestARetryOfAnOldRunProtectsNoOtherTarget(t *testing.T) {
	g := NewWithT(t)
	ok, failed := v1alpha1.BackupSessionSucceeded, v1alpha1.BackupSessionFailed
	targets := func(s *v1alpha1.BackupSession, web, db v1alpha1.BackupSessionPhase) *v1alpha1.BackupSession {
		for name, phase := range map[string]v1alpha1.BackupSessionPhase{"web": web, "db": db} {
			if phase != "" {
				s.Status.Targets = append(s.Status.Targets, v1alpha1.BackupTargetStatus{Name: name, Phase: phase})
			}
		}
		return s
	}
	b := hourly(t, "11-20T12:30:00", func(b *sessionFacts) {
		old := targets(runOf(t, "11-19T03:17:00", failed), ok, failed) // web has had its last backup here
		b.runs = append(b.runs, old)
		for _, slot := range []string{"11-20T10:17:00", "11-20T11:17:00", "11-20T12:17:00"} {
			b.runs = append(b.runs, targets(runOf(t, slot, failed), failed, ok))
		}
		retry := targets(runOf(t, "11-20T12:20:00", ok), "", ok)
		retry.Spec.RetryOf = old.Name
		retry.Status.Resolved = &v1alpha1.ResolvedBackup{
			RestorePoint: old.Name, RestorePointTime: old.Spec.ScheduledTime,
		}
		b.runs = append(b.runs, retry)
	})
	for _, runs := range []string{"all runs are there", "the history has let the retry go"} {
		j := judge(b)
		g.Expect(j.status.LastSuccessTime.Time).To(Equal(at(t, "11-19T03:17:00")), runs)
		c := &v1alpha1.BackupConfiguration{}
		protected(c, []*protection{j.protection})
		g.Expect(conditions.IsFalse(c, v1alpha1.ConditionProtected)).To(BeTrue(),
			"%s: web has no backup for 33 hours", runs)
		b.previous, b.runs = j.status, b.runs[:len(b.runs)-1]
	}
}

// asks returns a BackupConfiguration whose session hourly backs up a claim into Repositories.
func asks(claim string, repositories ...string) *v1alpha1.BackupConfiguration {
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	c.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: claim}
	s := v1alpha1.BackupConfigurationSession{SessionConfig: v1alpha1.SessionConfig{Name: "hourly"}}
	for _, r := range repositories {
		s.Repositories = append(s.Repositories, v1alpha1.RepositoryInfo{Name: r})
	}
	c.Spec.Sessions = []v1alpha1.BackupConfigurationSession{s}
	return c
}

// asksAll returns a BackupBatch whose session hourly backs up the claims that its selector has found.
func asksAll(claims ...string) *v1alpha1.BackupBatch {
	b := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "all"}}
	b.Spec.Targets = []v1alpha1.BatchTarget{{Name: "found", Selector: &v1alpha1.TargetSelector{}}}
	b.Spec.Sessions = []v1alpha1.BackupBatchSession{{
		SessionConfig: v1alpha1.SessionConfig{Name: "hourly"}, Targets: []v1alpha1.BatchSessionTarget{{Name: "found"}},
		Repositories: []v1alpha1.RepositoryInfo{{Name: "r"}},
	}}
	for _, claim := range claims {
		b.Status.Targets = append(b.Status.Targets, v1alpha1.BatchTargetStatus{
			FoundBy: "found",
			AppRef:  v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: claim},
		})
	}
	return b
}

// freeze makes a run one of what an invoker asks for, with a phase for each target by claim. Without phases all have
// succeeded.
func freeze(
	s *v1alpha1.BackupSession, invoker any, phases map[string]v1alpha1.BackupSessionPhase,
) *v1alpha1.BackupSession {
	s.Status.Resolved = &v1alpha1.ResolvedBackup{}
	for _, p := range asked(invoker, "hourly") {
		kind, name, _ := strings.Cut(p.Target, "/")
		phase, some := phases[name]
		if phases != nil && !some {
			continue
		}
		all := &s.Status.Resolved.Targets
		if n := len(*all); n == 0 || (*all)[n-1].Name != p.Name {
			*all = append(*all, v1alpha1.ResolvedTarget{
				Name: p.Name, AppRef: v1alpha1.TypedObjectReference{Kind: kind, Name: name},
			})
			s.Status.Targets = append(s.Status.Targets, v1alpha1.BackupTargetStatus{
				Name: p.Name, Phase: cmp.Or(phase, v1alpha1.BackupSessionSucceeded),
			})
		}
		t := &(*all)[len(*all)-1]
		t.Repositories = append(t.Repositories, v1alpha1.ResolvedRepository{Name: p.Repository})
	}
	return s
}

// A monthly policy that changes is not protected by what it backed up before.
func TestPolicyIsNotProtectedByTheBackupOfSomethingElse(t *testing.T) {
	ok, failed := v1alpha1.BackupSessionSucceeded, v1alpha1.BackupSessionFailed
	run := func(slot string, of any, phases map[string]v1alpha1.BackupSessionPhase) *v1alpha1.BackupSession {
		phase := ok
		for _, p := range phases {
			if p == failed {
				phase = failed
			}
		}
		return freeze(runOf(t, slot, phase), of, phases)
	}
	some := func(claims ...string) map[string]v1alpha1.BackupSessionPhase {
		out := map[string]v1alpha1.BackupSessionPhase{}
		for _, c := range claims {
			out[strings.TrimPrefix(c, "!")] = ok
			if strings.HasPrefix(c, "!") {
				out[c[1:]] = failed
			}
		}
		return out
	}
	retry := func(s *v1alpha1.BackupSession, of string) *v1alpha1.BackupSession {
		s.Spec.RetryOf = of
		s.Status.Resolved.RestorePoint = of
		s.Status.Resolved.RestorePointTime = new(metav1.NewTime(at(t, "11-20T08:17:00")))
		return s
	}
	const first, second = "11-20T08:17:00", "11-20T08:31:00"
	for name, tt := range map[string]struct {
		runs []*v1alpha1.BackupSession
		now  any
		// none is what the message says; empty if all is protected.
		none string
	}{
		"the same": {runs: []*v1alpha1.BackupSession{run(first, asks("a", "r"), nil)}, now: asks("a", "r")},
		"a repository by its default name": {
			runs: []*v1alpha1.BackupSession{run(first, asks("a"), nil)}, now: asks("a", "web"),
		},
		"another target": {
			runs: []*v1alpha1.BackupSession{run(first, asks("a", "r"), nil)}, now: asks("b", "r"),
			none: "hourly: PersistentVolumeClaim/b in Repository r",
		},
		"another target, backed up since": {
			runs: []*v1alpha1.BackupSession{run(first, asks("a", "r"), nil), run(second, asks("b", "r"), nil)},
			now:  asks("b", "r"),
		},
		"the target before the last": {
			runs: []*v1alpha1.BackupSession{run(first, asks("a", "r"), nil), run(second, asks("b", "r"), nil)},
			now:  asks("a", "r"), none: "hourly: PersistentVolumeClaim/a in Repository r",
		},
		"one more repository": {
			runs: []*v1alpha1.BackupSession{run(first, asks("a", "r"), nil)}, now: asks("a", "r", "far"),
			none: "hourly: PersistentVolumeClaim/a in Repository far",
		},
		"one repository less": {
			runs: []*v1alpha1.BackupSession{run(first, asks("a", "r", "far"), nil)}, now: asks("a", "far"),
		},
		"a retry after another target": {
			runs: []*v1alpha1.BackupSession{retry(run(second, asks("a", "r"), nil), "gone")}, now: asks("b", "r"),
			none: "hourly: PersistentVolumeClaim/b in Repository r",
		},
		"a claim that the selector has found since": {
			runs: []*v1alpha1.BackupSession{run(first, asksAll("a", "b"), nil)}, now: asksAll("a", "b", "c"),
			none: "hourly: PersistentVolumeClaim/c in Repository r-",
		},
		"a later run has failed only for another": {
			runs: []*v1alpha1.BackupSession{
				run(first, asksAll("a", "b"), nil), run(second, asksAll("a", "b", "c"), some("a", "!b", "c")),
			},
			now: asksAll("a", "b", "c"),
		},
		"a later run has failed for it": {
			runs: []*v1alpha1.BackupSession{
				run(first, asksAll("a", "b"), nil), run(second, asksAll("a", "b", "c"), some("a", "b", "!c")),
			},
			now: asksAll("a", "b", "c"), none: "hourly: PersistentVolumeClaim/c in Repository r-",
		},
		"many": {
			runs: []*v1alpha1.BackupSession{run(first, asksAll("a"), nil)},
			now:  asksAll("a", "b", "c", "d", "e", "f", "g", "h"), none: " and 2 more",
		},
		"a retry of one target": {
			runs: []*v1alpha1.BackupSession{
				run(first, asksAll("a", "b", "c"), some("a", "!b", "!c")),
				retry(run(second, asksAll("a", "b", "c"), some("c")), first),
			},
			now: asksAll("a", "b", "c"),
		},
		"a retry of one target, and one more since": {
			runs: []*v1alpha1.BackupSession{
				run(first, asksAll("a", "b"), some("a", "!b")), retry(run(second, asksAll("a", "b"), some("b")), first),
			},
			now: asksAll("a", "b", "c"), none: "hourly: PersistentVolumeClaim/c in Repository r-",
		},
		"a retry of one target, the first run is gone": {
			runs: []*v1alpha1.BackupSession{retry(run(second, asksAll("a", "b"), some("b")), first)},
			now:  asksAll("a", "b"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := hourly(t, "11-20T08:50:00")
			b.runs, b.asked = tt.runs, asked(tt.now, "hourly")
			for _, runs := range []string{"all runs are there", "the runs are gone", "and still"} {
				j := judge(b)
				c := &v1alpha1.BackupConfiguration{}
				protected(c, []*protection{j.protection})
				if tt.none == "" {
					g.Expect(conditions.IsTrue(c, v1alpha1.ConditionProtected)).To(BeTrue(), "%s: %s", runs,
						conditions.GetMessage(c, v1alpha1.ConditionProtected))
				} else {
					g.Expect(conditions.GetReason(c, v1alpha1.ConditionProtected)).
						To(Equal(v1alpha1.ReasonNoBackupYet), runs)
				}
				if tt.none != "" && b.runs != nil {
					g.Expect(conditions.GetMessage(c, v1alpha1.ConditionProtected)).To(ContainSubstring(tt.none))
				}
				b.runs, b.previous = nil, j.status
			}
		})
	}
}

// The success of a session says nothing about a target whose selector finds nothing.
func TestASelectorThatFindsNothingProtectsNothing(t *testing.T) {
	ok := v1alpha1.BackupSessionSucceeded
	for name, tt := range map[string]struct {
		session string
		looked  bool
		status  metav1.ConditionStatus
		reason  string
	}{
		"of this session": {"hourly", true, metav1.ConditionUnknown, v1alpha1.ReasonSelectorFindsNothing},
		"of another":      {"weekly", true, metav1.ConditionTrue, v1alpha1.ReasonProtected},
		"nobody looked":   {"hourly", false, metav1.ConditionTrue, v1alpha1.ReasonProtected},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			batch := asksAll("a")
			batch.Spec.Targets = append(batch.Spec.Targets, v1alpha1.BatchTarget{
				Name: "typo", Selector: &v1alpha1.TargetSelector{},
			})
			batch.Spec.Sessions = append(batch.Spec.Sessions, v1alpha1.BackupBatchSession{
				SessionConfig: v1alpha1.SessionConfig{Name: "weekly"},
			})
			for i := range batch.Spec.Sessions {
				if s := &batch.Spec.Sessions[i]; s.Name == tt.session {
					s.Targets = append(s.Targets, v1alpha1.BatchSessionTarget{Name: "typo"})
				}
			}
			if tt.looked {
				conditions.MarkTrue(batch, v1alpha1.ConditionSelectorFindsNothing, v1alpha1.ReasonSelectorFindsNothing,
					"typo")
			}
			b := hourly(t, "11-20T08:50:00")
			b.runs = []*v1alpha1.BackupSession{freeze(runOf(t, "11-20T08:17:00", ok), batch, nil)}
			b.asked, b.empty = asked(batch, "hourly"), empty(batch, "hourly")
			protected(batch, []*protection{judge(b).protection})
			c := conditions.Get(batch, v1alpha1.ConditionProtected)
			g.Expect(c).To(HaveValue(And(HaveField("Status", tt.status), HaveField("Reason", tt.reason))))
			if tt.status != metav1.ConditionTrue {
				g.Expect(c.Message).To(HaveSuffix(": hourly: typo"))
			}
		})
	}
}

// A manager of an earlier version has left no digest.
func TestAnUnknownBackupProtects(t *testing.T) {
	g := NewWithT(t)
	b := hourly(t, "11-20T08:50:00")
	b.previous.LastSuccessTime, b.asked = new(metav1.NewTime(at(t, "11-20T08:27:00"))), asked(asks("a"), "hourly")
	j := judge(b)
	g.Expect(j.protection.uncovered).To(BeEmpty())
	g.Expect(j.status.LastSuccessOf).To(BeEmpty())
}

// A weekly session succeeded on Sunday. On Wednesday its schedule changes.
func TestAScheduleThatChangesMakesNothingLate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		line   string
		lastOn string // the slot of the last success
		late   bool
	}{
		"nightly":                     {line: "0 2 * * *", lastOn: "11-15T02:00:00"},
		"hourly":                      {line: "17 * * * *", lastOn: "11-15T02:00:00"},
		"monthly":                     {line: "0 2 1 * *", lastOn: "11-15T02:00:00"},
		"nightly, after a failed run": {line: "0 2 * * *", lastOn: "11-08T02:00:00", late: true},
		"weekly, after a failed run":  {line: "0 3 * * 0", lastOn: "11-08T02:00:00", late: true},
		"monthly, after a failed run": {line: "0 2 1 * *", lastOn: "11-08T02:00:00"},
		"monthly, after six weeks":    {line: "0 2 1 * *", lastOn: "09-27T02:00:00", late: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, slot := NewWithT(t), at(t, tt.lastOn)
			b := hourly(t, "11-18T10:00:00", func(b *sessionFacts) {
				b.config.Scheduler.Schedule, b.previous.Schedule = tt.line, "0 2 * * 0"
				b.previous.ScheduledSince = new(metav1.NewTime(slot.AddDate(0, -1, 0)))
				b.previous.LastScheduleTime = new(metav1.NewTime(slot))
				b.runs = append(b.runs, runOf(t, tt.lastOn, v1alpha1.BackupSessionSucceeded))
			})
			for range 2 { // the second time, the new schedule is in the status
				c := &v1alpha1.BackupConfiguration{}
				j := judge(b)
				protected(c, []*protection{j.protection})
				g.Expect(conditions.IsTrue(c, v1alpha1.ConditionProtected)).NotTo(Equal(tt.late))
				b.previous, b.now = j.status, b.now.Add(time.Minute)
			}
			b.runs = append(b.runs, runOf(t, "11-18T11:00:00", v1alpha1.BackupSessionSucceeded))
			b.now = at(t, "11-18T12:00:00")
			j := judge(b)
			g.Expect(j.protection.late).To(BeFalse())
			g.Expect(j.status.OwedSlot).To(BeNil())
		})
	}
}
