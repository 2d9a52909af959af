package trigger

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The Repository of the last success, or all that was in it, is gone. The run has ended at 8:27.
func TestAnEmptyRepositoryProtectsNothing(t *testing.T) {
	t.Parallel()
	ok := v1alpha1.BackupSessionSucceeded
	holds := func(name, created string, count, backup bool) *v1alpha1.Repository {
		r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
			Name: name, CreationTimestamp: metav1.NewTime(at(t, created)),
		}}
		r.Status.SnapshotCount = new(int32(0))
		if count {
			r.Status.SnapshotCount = new(int32(2))
		}
		if backup {
			r.Status.LastBackupTime = new(metav1.NewTime(at(t, "11-20T08:26:00")))
		}
		return r
	}
	const before, since = "11-19T00:00:00", "11-20T08:30:00"
	fresh := holds("r", since, false, false)
	fresh.Status.SnapshotCount = nil
	retry := freeze(runOf(t, "11-20T08:31:00", ok), asks("a", "r"), nil)
	retry.Spec.RetryOf, retry.Status.Resolved.RestorePoint = "gone", "gone"
	retry.Status.Resolved.RestorePointTime = new(metav1.NewTime(at(t, "11-20T08:17:00")))
	const lost = "hourly: PersistentVolumeClaim/a in Repository r"
	for name, tt := range map[string]struct {
		runs         []*v1alpha1.BackupSession
		repositories []*v1alpha1.Repository
		asks         *v1alpha1.BackupConfiguration
		none         string // what the message says; empty if all is protected
		unknown      bool
	}{
		"it holds some":                    {repositories: []*v1alpha1.Repository{holds("r", before, true, true)}},
		"it has not counted its first one": {repositories: []*v1alpha1.Repository{holds("r", before, false, false)}},
		"its Snapshots were deleted": {
			repositories: []*v1alpha1.Repository{holds("r", before, false, true)}, none: lost,
		},
		"it was made again": {repositories: []*v1alpha1.Repository{holds("r", since, false, false)}, none: lost},
		"it was made again, and has not looked": {
			repositories: []*v1alpha1.Repository{fresh}, none: lost,
		},
		"a scan has found them": {repositories: []*v1alpha1.Repository{holds("r", since, true, true)}},
		"it is gone":            {none: lost},
		"made again, and a retry has backed up into it": {
			runs:         []*v1alpha1.BackupSession{retry},
			repositories: []*v1alpha1.Repository{holds("r", since, false, false)},
		},
		"one of two": {
			asks:         asks("a", "near", "r"),
			repositories: []*v1alpha1.Repository{holds("near", before, true, true), holds("r", since, false, false)},
			none:         lost,
		},
		"a repository that is new in the policy": {
			runs: []*v1alpha1.BackupSession{freeze(runOf(t, "11-20T08:17:00", ok), asks("a", "near"), nil)},
			asks: asks("a", "near", "r"),
			repositories: []*v1alpha1.Repository{
				holds("near", before, true, true), holds("r", since, false, false),
			},
			none: lost, unknown: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, policy := NewWithT(t), tt.asks
			if policy == nil {
				policy = asks("a", "r")
			}
			b := hourly(t, "11-20T08:50:00")
			b.asked, b.repositories = asked(policy, "hourly"), map[string]*v1alpha1.Repository{}
			for _, r := range tt.repositories {
				b.repositories[r.Name] = r
			}
			if b.runs = tt.runs; b.runs == nil {
				b.runs = []*v1alpha1.BackupSession{freeze(runOf(t, "11-20T08:17:00", ok), policy, nil)}
			}
			for _, runs := range []string{"all runs are there", "the runs are gone"} {
				j := judge(b)
				c := &v1alpha1.BackupConfiguration{}
				protected(c, []*protection{j.protection})
				got := conditions.Get(c, v1alpha1.ConditionProtected)
				switch {
				case tt.none == "":
					g.Expect(got.Status).To(Equal(metav1.ConditionTrue), "%s: %s", runs, got.Message)
				case tt.unknown:
					g.Expect(got.Reason).To(Equal(v1alpha1.ReasonNoBackupYet), runs)
				default:
					g.Expect(got).To(HaveValue(And(HaveField("Status", metav1.ConditionFalse),
						HaveField("Reason", v1alpha1.ReasonSnapshotNotFound),
						HaveField("Message", ContainSubstring(tt.none)))), runs)
				}
				if name == "made again, and a retry has backed up into it" {
					break // by then the Repository has counted
				}
				b.runs, b.previous = nil, j.status
			}
		})
	}
}

// A check has found each backup of a Repository damaged, or none has looked at what a scan found there. The run of the
// last success has ended at 8:27.
func TestARepositoryWithoutAWholeBackupProtectsNothing(t *testing.T) {
	t.Parallel()
	const lost = "hourly: PersistentVolumeClaim/a in Repository r"
	for name, tt := range map[string]struct {
		count, damaged, unchecked, half int32

		newest bool   // the newest is one of a half restored target
		none   string // the reason; empty if all is protected
	}{
		"nobody has looked":               {count: 3},
		"one is intact":                   {count: 3, damaged: 2},
		"all are damaged":                 {count: 3, damaged: 3, none: v1alpha1.ReasonRepositoryDamaged},
		"a new backup":                    {count: 4, damaged: 3},
		"the intact one goes":             {count: 1, damaged: 1, none: v1alpha1.ReasonRepositoryDamaged},
		"a scan has found all":            {count: 3, unchecked: 3, none: v1alpha1.ReasonNotChecked},
		"and a check has found some gone": {count: 3, damaged: 2, unchecked: 1, none: v1alpha1.ReasonNotChecked},
		"and a check has found one":       {count: 3, unchecked: 2},
		"and a run has made one":          {count: 4, unchecked: 3},
		"of a half restored target":       {count: 1, half: 1, none: v1alpha1.ReasonHalfRestored},
		"beside what nobody has checked":  {count: 4, unchecked: 3, half: 1, none: v1alpha1.ReasonNotChecked},
		"beside a damaged one":            {count: 2, damaged: 1, half: 1, none: v1alpha1.ReasonHalfRestored},
		"before a whole one":              {count: 2, half: 1},
		"after whole ones":                {count: 91, half: 1, newest: true, none: v1alpha1.ReasonHalfRestored},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, policy := NewWithT(t), asks("a", "near", "r")
			b := hourly(t, "11-20T08:50:00")
			holds := func(count, damaged, unchecked, half int32) *v1alpha1.Repository {
				r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
					CreationTimestamp: metav1.NewTime(at(t, "11-19T00:00:00")),
				}}
				r.Status.SnapshotCount, r.Status.DamagedCount, r.Status.UncheckedCount = &count, damaged, unchecked
				r.Status.HalfRestoredCount = half
				r.Status.LastBackupTime = new(metav1.NewTime(at(t, "11-20T08:26:00")))
				return r
			}
			b.asked = asked(policy, "hourly")
			b.repositories = map[string]*v1alpha1.Repository{
				"near": holds(1, 0, 0, 0), "r": holds(tt.count, tt.damaged, tt.unchecked, tt.half),
			}
			b.repositories["r"].Status.NewestHalfRestored = tt.newest
			b.runs = []*v1alpha1.BackupSession{
				freeze(runOf(t, "11-20T08:17:00", v1alpha1.BackupSessionSucceeded), policy, nil),
			}
			for _, runs := range []string{"all runs are there", "the runs are gone"} {
				j := judge(b)
				c := &v1alpha1.BackupConfiguration{}
				protected(c, []*protection{j.protection})
				got := conditions.Get(c, v1alpha1.ConditionProtected)
				if tt.none != "" {
					advice := "Start a run"
					if tt.none == v1alpha1.ReasonHalfRestored {
						advice = "If the target was restored whole since, start a run. Otherwise restore, by its " +
							"name, a Snapshot without a mark in the column HALF-RESTORED of cairn get snapshots"
					}
					g.Expect(got).To(HaveValue(And(HaveField("Status", metav1.ConditionFalse),
						HaveField("Reason", tt.none),
						HaveField("Message", And(ContainSubstring(lost), ContainSubstring(advice),
							Not(ContainSubstring("near")))))), runs)
				} else {
					g.Expect(got.Status).To(Equal(metav1.ConditionTrue), "%s: %s", runs, got.Message)
				}
				b.runs, b.previous = nil, j.status
			}
		})
	}
}

// Only a Repository that is emptied, or holds something whole no more or again, is worth another look.
func TestBackupsThatChangeProtection(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	of := func(n *int32) *v1alpha1.Repository {
		r := &v1alpha1.Repository{}
		r.Status.SnapshotCount = n
		return r
	}
	passes := func(before, after *int32) bool {
		return HoldingChanged.Update(event.UpdateEvent{ObjectOld: of(before), ObjectNew: of(after)})
	}
	g.Expect(passes(new(int32(1)), new(int32(0)))).To(BeTrue())
	g.Expect(passes(nil, new(int32(1)))).To(BeTrue())
	g.Expect(passes(nil, new(int32(0)))).To(BeFalse())
	g.Expect(passes(new(int32(7)), new(int32(8)))).To(BeFalse())
	damaged := func(before, after int32) bool {
		was, is := of(new(int32(3))), of(new(int32(3)))
		was.Status.DamagedCount, is.Status.DamagedCount = before, after
		return HoldingChanged.Update(event.UpdateEvent{ObjectOld: was, ObjectNew: is})
	}
	g.Expect(damaged(0, 2)).To(BeFalse(), "one is still whole")
	g.Expect(damaged(2, 3)).To(BeTrue())
	g.Expect(damaged(3, 2)).To(BeTrue(), "a check has found one intact")
}

// A session that nobody has ever started says why there is no backup yet.
func TestASuspendedSessionWithoutABackupSaysSo(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*sessionFacts){"suspended": suspended, "paused": paused} {
		g := NewWithT(t)
		b := hourly(t, "11-20T08:50:00", edit)
		b.previous = v1alpha1.SessionStatus{}
		c := &v1alpha1.BackupConfiguration{}
		protected(c, []*protection{judge(b).protection})
		g.Expect(conditions.Get(c, v1alpha1.ConditionProtected)).To(HaveValue(And(
			HaveField("Status", metav1.ConditionUnknown), HaveField("Reason", v1alpha1.ReasonNoBackupYet),
			HaveField("Message", HaveSuffix(": hourly (its schedule is suspended)")))), name)
	}
}
