package keeper

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
)

// nightly is a target that is backed up each night.
type nightly struct {
	components int // 0 is one
	// large reports whether the check of the last component takes too long, by the days on which its Snapshot was made
	// and is checked. All others take no time.
	large func(made, now int) bool
	// keeps reports whether retention keeps a Snapshot. Nil is keepsSome.
	keeps func(made, now int) bool
	last  int // the day of the last backup; 0 is none
}

// keepsSome keeps daily Snapshots for 30 days, weekly ones for 180, and monthly ones.
func keepsSome(made, now int) bool {
	return now-made < 30 || made%7 == 0 && now-made < 180 || made%30 == 0
}

// months are the checks of a Repository, day by day.
type months struct {
	g       Gomega
	targets map[string]nightly
	late    bool // what takes too long does so because its keeper has too much else to do
	all     []*v1alpha1.Snapshot
	made    map[string]int

	waited  map[string]int // the days for which a Snapshot waits for its first check, which would be in time
	longest int            // of all Snapshots
	tooLong int            // the checks that took too long
}

func (m *months) targetOf(s string) nightly { return m.targets[s[:strings.Index(s, "-")]] }

func (m *months) tooLarge(snapshot string, day int) bool {
	t := m.targetOf(snapshot)
	return t.large != nil && t.large(m.made[snapshot], day)
}

// night makes the backups of a day, and lets retention remove others.
func (m *months) night(day int) {
	for _, name := range slices.Sorted(maps.Keys(m.targets)) {
		t := m.targets[name]
		if t.last > 0 && day > t.last {
			continue
		}
		s := aged(fmt.Sprintf("%s-%03d", name, day), day, 0)
		s.Spec.AppRef.Name = name
		s.Status.Components = map[string]v1alpha1.Component{}
		for i := range max(1, t.components) {
			c := fmt.Sprint("x", i)
			s.Status.Components[c] = v1alpha1.Component{ID: c}
		}
		m.made[s.Name] = day
		m.all = append(m.all, s)
	}
	m.all = slices.DeleteFunc(m.all, func(s *v1alpha1.Snapshot) bool {
		made, keeps := m.made[s.Name], m.targetOf(s.Name).keeps
		if keeps == nil {
			keeps = keepsSome
		}
		return !keeps(made, day)
	})
	for _, s := range m.all {
		if s.Status.LastCheckTime == nil && !m.tooLarge(s.Name, day) {
			m.waited[s.Name]++
			m.longest = max(m.longest, m.waited[s.Name])
		}
	}
}

// check does a check, and reports whether it was in time.
func (m *months) check(attempts Attempts, day int) bool {
	at := metav1.NewTime(start.Add(time.Duration(24*day+3) * time.Hour))
	w := Work{
		Repository: usedRepository(nil), Maintain: task.MaintainFull, Checks: true, Check: ToCheck(m.all, nil, at.Time),
	}
	job, _ := attempts.Ready([]Work{w}, at.Time)
	m.g.Expect(job).To(HaveLen(1))
	w = job[0]
	result := task.ComponentResult{Outcome: task.OutcomeSucceeded, Verified: int64(len(w.Check))}
	if slices.ContainsFunc(w.Check, func(c task.Checked) bool {
		last := fmt.Sprint("x", max(1, m.targetOf(c.Snapshot).components)-1)
		return c.Component == last && m.tooLarge(c.Snapshot, day)
	}) {
		result = task.ComponentResult{Outcome: task.OutcomeFailed}
		result.Check = &task.Step{Reason: tooLong}
		if m.late && len(w.Check) == 1 {
			result.Check = &task.Step{Reason: v1alpha1.ReasonCancelled, Late: true}
		}
		m.g.Expect(w.TriedCheck(result)).To(BeTrue())
		m.tooLong++
	}
	v, ok := w.Verdict(result)
	_, failed := w.Split(result)
	for _, s := range m.all {
		if ok {
			if v.WriteTo(s, at); v[s.Name] != nil {
				s.Status.LastUpdateTime = &at
			}
		}
		for _, f := range failed {
			if f.Slow() && s.Name == f.Check[0].Snapshot {
				MarkSlow(s, f.Check[0], f.Reason, "too long", at)
			}
		}
	}
	attempts.Count(fmt.Sprint(day), at, map[string]Ended{"web": w.Ended(result)})
	return result.Check == nil
}

// A target can grow and shrink, and have one Snapshot that is too large. What can be checked in time is checked, also
// among those that cannot, and these take no more than a part of the checks.
func TestWhatCanBeCheckedIsCheckedBesideWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	madeIn := func(from, until int) func(made, now int) bool {
		return func(made, _ int) bool { return made >= from && made < until }
	}
	slowIn := func(from, until int) func(made, now int) bool {
		return func(_, now int) bool { return now >= from && now < until }
	}
	one := func(n nightly) map[string]nightly { return map[string]nightly{"big": n} }
	first := func(made, now int) bool { return made == 1 || keepsSome(made, now) }
	young := func(days int) func(made, now int) bool {
		return func(made, now int) bool { return now-made < days }
	}
	const ever = 1000
	for name, tt := range map[string]struct {
		targets map[string]nightly
		late    bool
		moved   int // the day on which nothing counts as checked any more
		waits   int // the most days until the first check
		tooLong int // the most checks that take too long
	}{
		"nothing":                 {targets: one(nightly{}), waits: 7},
		"each Snapshot":           {targets: one(nightly{large: madeIn(0, ever)}), waits: 40, tooLong: 25},
		"a target that has grown": {targets: one(nightly{large: madeIn(60, ever)}), waits: 65, tooLong: 30},
		"grown, and in a new place": {
			targets: one(nightly{large: madeIn(60, ever)}), moved: 100, waits: 140, tooLong: 40,
		},
		"grown for some time":      {targets: one(nightly{large: madeIn(60, 120)}), waits: 100, tooLong: 40},
		"a target that has shrunk": {targets: one(nightly{large: madeIn(0, 40)}), waits: 45, tooLong: 30},
		"the first Snapshot":       {targets: one(nightly{large: madeIn(0, 2), keeps: first}), waits: 45, tooLong: 25},
		"the first Snapshots of two targets": {targets: map[string]nightly{
			"big": {large: madeIn(0, 2), keeps: first}, "other": {large: madeIn(0, 2), keeps: first},
		}, waits: 100, tooLong: 35},
		"the only Snapshot": {
			targets: one(nightly{large: madeIn(0, 2), keeps: first, last: 1}), waits: 40, tooLong: 20,
		},
		"some Snapshots of a target that is gone": {
			targets: one(nightly{large: madeIn(20, 60), keeps: madeIn(0, ever), last: 60}), waits: 65, tooLong: 35,
		},
		"a component of each Snapshot": {
			targets: one(nightly{large: madeIn(0, ever), components: 10}), waits: 90, tooLong: 25,
		},
		"a component of the first Snapshot": {
			targets: one(nightly{large: madeIn(0, 2), keeps: first, components: 10}), waits: 95, tooLong: 25,
		},
		"a component of the first Snapshot, while retention removes others": {
			targets: one(nightly{large: madeIn(0, 2), components: 10, keeps: func(made, now int) bool {
				return made == 1 || now-made < 60
			}}), waits: 80, tooLong: 25,
		},
		"what retention removes soon": {
			targets: one(nightly{large: madeIn(0, ever), keeps: young(10)}), waits: 35, tooLong: 55,
		},
		"grown, and removed by retention": {
			targets: one(nightly{large: madeIn(60, ever), keeps: young(40)}), waits: 45, tooLong: 25,
		},
		"the storage, for some time": {targets: one(nightly{large: slowIn(60, 120)}), waits: 85, tooLong: 20},
		"the storage of all, for some time": {targets: map[string]nightly{
			"big": {large: slowIn(60, 120)}, "small": {large: slowIn(60, 120)},
		}, waits: 55, tooLong: 60},
		"the storage, until the target has grown": {targets: one(nightly{large: func(made, now int) bool {
			return made >= 60 || now < 90
		}}), waits: 210, tooLong: 30},
		"each Snapshot, beside other work": {
			targets: one(nightly{large: madeIn(0, ever)}), late: true, waits: 40, tooLong: 25,
		},
		"the first Snapshot, beside other work": {
			targets: one(nightly{large: madeIn(0, 2), keeps: first}), late: true, waits: 45, tooLong: 25,
		},
		"beside other work, for some time": {
			targets: one(nightly{large: slowIn(60, 120)}), late: true, waits: 85, tooLong: 20,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := months{
				g: NewWithT(t), targets: map[string]nightly{"small": {}}, late: tt.late, made: map[string]int{},
				waited: map[string]int{},
			}
			maps.Copy(m.targets, tt.targets)
			attempts, next := Attempts{}, 7
			for day := 1; day < 400; day++ {
				if m.night(day); day == tt.moved {
					for _, s := range m.all {
						retention.LeaveSnapshot(s)
					}
					clear(m.waited)
				}
				if day < next {
					continue
				}
				if next = day + 7; !m.check(attempts, day) {
					next = day + 1
				}
			}
			t.Log("longest wait:", m.longest, "too long:", m.tooLong)
			m.g.Expect(m.longest).To(BeNumerically("<=", tt.waits))
			m.g.Expect(m.tooLong).To(BeNumerically("<=", tt.tooLong))
		})
	}
}
