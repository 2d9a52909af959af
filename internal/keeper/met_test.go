package keeper

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// metBy returns a restore of a component that ended so many hours after the start because the repository lacks data.
func metBy(hours int, id string, change func(*v1alpha1.RestoreSession)) v1alpha1.RestoreSession {
	s := v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"}}
	s.Status = v1alpha1.RestoreSessionStatus{
		Phase:          v1alpha1.RestoreSessionFailed,
		CompletionTime: &metav1.Time{Time: start.Add(time.Duration(hours) * time.Hour)},
		Resolved: &v1alpha1.ResolvedRestore{
			Namespace: "shop", Repository: v1alpha1.ResolvedRepository{Name: "web", UID: "uid-web"},
		},
		Components: map[string]v1alpha1.RestoredComponent{
			"data": {ID: id, Reason: v1alpha1.ReasonRepositoryDamaged},
			"logs": {ID: "whole", Phase: v1alpha1.RestoreSessionSucceeded},
		},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func TestOnlyEndedRestoresOfTheRepositoryMeetDamage(t *testing.T) {
	t.Parallel()
	reason := func(reason string) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			s.Status.Components["data"] = v1alpha1.RestoredComponent{ID: "x", Reason: reason}
		}
	}
	for name, tt := range map[string]struct {
		change func(*v1alpha1.RestoreSession)
		hours  int
		counts bool
	}{
		"damaged":                  {nil, 1, true},
		"its description is gone":  {reason(v1alpha1.ReasonSnapshotNotFound), 1, true},
		"its repository is gone":   {reason(v1alpha1.ReasonRepositoryNotFound), 1, true},
		"an outage":                {reason(v1alpha1.ReasonUnreachable), 1, false},
		"a clock differs a little": {nil, 2, true},
		"still to come":            {nil, 400, false},
		"it goes on": {func(s *v1alpha1.RestoreSession) {
			s.Status.Phase = v1alpha1.RestoreSessionRunning
		}, 1, false},
		"it does not say when":  {func(s *v1alpha1.RestoreSession) { s.Status.CompletionTime = nil }, 1, false},
		"it has chosen nothing": {func(s *v1alpha1.RestoreSession) { s.Status.Resolved = nil }, 1, false},
		"of a Repository that was made anew": {func(s *v1alpha1.RestoreSession) {
			s.Status.Resolved.Repository.UID = "before"
		}, 1, false},
		"a record": {func(s *v1alpha1.RestoreSession) {
			s.Annotations = map[string]string{v1alpha1.AnnotationRecord: "true"}
		}, 1, false},
		"of a namespace that may restore from there": {func(s *v1alpha1.RestoreSession) {
			s.Namespace = "copy"
		}, 1, true},
		"of another namespace": {func(s *v1alpha1.RestoreSession) {
			s.Namespace = "other"
		}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := usedRepository(nil)
			r.Namespace, r.Name, r.UID = "shop", "web", "uid-web"
			r.Annotations = map[string]string{v1alpha1.AnnotationRestoreTo: "copy"}
			met := MetIn(r, []v1alpha1.RestoreSession{metBy(tt.hours, "x", tt.change)}, start.Add(90*time.Minute))
			want := Met{}
			if tt.counts {
				want["x"] = start.Add(time.Duration(tt.hours) * time.Hour)
			}
			NewWithT(t).Expect(met).To(Equal(want))
		})
	}
}

// What a check has looked at since, or knows to be damaged, makes no other one due.
func TestDamageIsMetOnce(t *testing.T) {
	t.Parallel()
	g, r := NewWithT(t), usedRepository(nil)
	all := []*v1alpha1.Snapshot{checkable("a", "x", "z"), checkable("b", "y"), checkable("c", "w")}
	met := Met{"x": start.Add(time.Hour), "y": start.Add(2 * time.Hour), "gone": start.Add(3 * time.Hour)}
	r.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Full: &metav1.Time{Time: start}}
	at := func() time.Time { return LookedAt(r, start.Add(4*time.Hour)) }
	g.Expect(met.After(at(), all).Name).To(Equal("b"), "the last one")
	all[1].Status.Components["y"] = v1alpha1.Component{ID: "y", Integrity: new(false)}
	g.Expect(met.After(at(), all).Name).To(Equal("a"), "the other one is known")
	r.Status.LastMaintenance.Full = &metav1.Time{Time: start.Add(time.Hour)}
	g.Expect(met.After(at(), all)).To(BeNil(), "a check has looked since")
	r.Status.LastMaintenance.Full = &metav1.Time{Time: start.AddDate(1, 0, 0)}
	g.Expect(met.After(at(), all)).NotTo(BeNil(), "a clock was ahead")
	r.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionChecked, Status: metav1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(start.Add(2 * time.Hour)),
	}}
	g.Expect(met.After(at(), all)).To(BeNil(), "a check has looked, although the maintenance before it failed")
}

// A restore makes a check due at once, but not more than one a day, and the check looks there first.
func TestAfterDamageWasMetACheckIsDue(t *testing.T) {
	t.Parallel()
	g, r := NewWithT(t), usedRepository(nil)
	now := start.Add(40 * quickEvery)
	for _, tt := range []struct {
		full time.Duration
		want task.Maintenance
	}{{2 * quickEvery, task.MaintainFull}, {time.Hour, ""}} {
		at := metav1.NewTime(now.Add(-tt.full))
		r.Status.LastBackupTime = &at
		r.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: &metav1.Time{Time: now}, Full: &at}
		how, _ := due(StateOf(r), now)
		g.Expect(how).To(BeEmpty())
		conditions.MarkFalse(r, v1alpha1.ConditionChecked, v1alpha1.ReasonRepositoryDamaged, "met")
		how, again := due(StateOf(r), now)
		g.Expect(how).To(Equal(tt.want))
		g.Expect(again).To(BeTemporally("<=", now.Add(quickEvery)))
		conditions.MarkTrue(r, v1alpha1.ConditionChecked, v1alpha1.ReasonChecked, "done")
	}
	r.Status.LastMaintenance = nil
	conditions.MarkFalse(r, v1alpha1.ConditionChecked, v1alpha1.ReasonRepositoryDamaged, "met")
	r.CreationTimestamp = metav1.NewTime(now)
	how, _ := due(StateOf(r), now)
	g.Expect(how).To(Equal(task.MaintainFull), "it is younger than a week")
}

func TestWhereDamageWasMetIsCheckedFirst(t *testing.T) {
	t.Parallel()
	g, now := NewWithT(t), start.Add(40*quickEvery)
	first := func(met Met, all ...*v1alpha1.Snapshot) string {
		checks := ToCheck(all, met, now)
		return checks[0].Snapshot + "/" + checks[0].Component
	}
	old, never, wide := aged("old", 1, 20), aged("never", 3, 0), aged("wide", 2, 21)
	old.Status.Components, wide.Status.Components = map[string]v1alpha1.Component{}, map[string]v1alpha1.Component{}
	for _, c := range []string{"k", "l", "m", "n"} {
		old.Status.Components[c] = v1alpha1.Component{ID: "old-" + c, Integrity: new(true)}
	}
	wide.Status.Components["data"] = v1alpha1.Component{ID: "wide", Integrity: new(true)}
	g.Expect(first(nil, old, never, wide)).To(Equal("never/x"))
	g.Expect(first(Met{"wide": now}, old, never, wide)).To(Equal("wide/data"))
	for _, c := range []string{"k", "l", "m", "n"} {
		g.Expect(first(Met{"old-" + c: now}, old, never, wide)).To(Equal("old/"+c), "whatever day it is")
	}
	g.Expect(first(Met{"wide": start}, old, never, wide)).To(Equal("never/x"), "it was checked since")
	wide.Status.Components["data"] = v1alpha1.Component{ID: "wide", Integrity: new(false)}
	g.Expect(first(Met{"wide": now}, old, never, wide)).To(Equal("never/x"), "it is known to be damaged")
}

// A drill restores a rotten file each day, which no check sees. A Snapshot whose check takes long has its turn at last.
func TestDamageThatIsMetEachDayStarvesNoSlowSnapshot(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	day := func(n int) time.Time { return start.Add(time.Duration(n) * quickEvery) }
	rotten, slow := aged("rotten", 1, 10), aged("slow", 2, 0)
	rotten.Status.Components["x"] = v1alpha1.Component{ID: "rotten", Integrity: new(true)}
	checked := task.Checked{Snapshot: "slow", UID: slow.UID, Component: "x", ID: "x"}
	MarkSlow(slow, checked, tooLong, "too long", metav1.NewTime(day(10)))
	var tried []int
	for n := 11; n < 120; n++ {
		met := Met{"rotten": day(n).Add(-time.Hour)}
		switch checks := ToCheck([]*v1alpha1.Snapshot{rotten, slow}, met, day(n)); checks[0].Snapshot {
		case "slow":
			tried = append(tried, n)
			MarkSlow(slow, checked, tooLong, "too long", metav1.NewTime(day(n)))
		case "rotten":
			rotten.Status.LastCheckTime = &metav1.Time{Time: day(n)}
		}
	}
	g.Expect(tried).To(Equal([]int{52, 94}), "every six weeks")
}
