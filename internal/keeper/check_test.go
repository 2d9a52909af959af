package keeper

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// checkable returns a successful Snapshot with components of these names, and IDs like them.
func checkable(name string, components ...string) *v1alpha1.Snapshot {
	s := &v1alpha1.Snapshot{Status: v1alpha1.SnapshotStatus{
		Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: &metav1.Time{Time: start},
		Components: map[string]v1alpha1.Component{},
	}}
	s.Name, s.UID = name, "uid"
	for _, c := range components {
		s.Status.Components[c] = v1alpha1.Component{ID: c}
	}
	return s
}

func TestToCheck(t *testing.T) {
	at := func(s *v1alpha1.Snapshot, days int) *v1alpha1.Snapshot {
		s.Status.LastCheckTime = &metav1.Time{Time: start.Add(time.Duration(days) * 24 * time.Hour)}
		return s
	}
	now := start.Add(30 * 24 * time.Hour)
	many := func(name string, n int) *v1alpha1.Snapshot {
		var components []string
		for i := range n {
			components = append(components, fmt.Sprintf("c%03d", i))
		}
		return checkable(name, components...)
	}
	failed := checkable("failed", "data")
	failed.Status.Phase = v1alpha1.SnapshotFailed
	for name, tt := range map[string]struct {
		snapshots []*v1alpha1.Snapshot
		want      []string
	}{
		"never checked first, then the oldest check": {
			[]*v1alpha1.Snapshot{
				at(checkable("a", "x"), 2), at(checkable("b", "x"), 1), checkable("d", "x"), checkable("c", "x"),
			},
			[]string{"c/x", "d/x", "b/x", "a/x"},
		},
		"a check that is still to come is none": {
			[]*v1alpha1.Snapshot{at(checkable("a", "x"), 400), at(checkable("b", "x"), 1), checkable("c", "x")},
			[]string{"a/x", "c/x", "b/x"},
		},
		"only what succeeded": {[]*v1alpha1.Snapshot{failed, checkable("b", "y", "x")}, []string{"b/x", "b/y"}},
		"a component without data": {[]*v1alpha1.Snapshot{func() *v1alpha1.Snapshot {
			s := checkable("a", "x")
			s.Status.Components["none"] = v1alpha1.Component{}
			return s
		}()}, []string{"a/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range ToCheck(tt.snapshots, nil, now) {
				got = append(got, c.Snapshot+"/"+c.Component)
			}
			NewWithT(t).Expect(got).To(Equal(tt.want))
		})
	}
	t.Run("a Snapshot that fits is checked whole or not at all", func(t *testing.T) {
		snapshots := []*v1alpha1.Snapshot{many("a", 300), many("b", 300), many("c", 10)}
		NewWithT(t).Expect(ToCheck(snapshots, nil, now)).To(HaveLen(300))
	})
}

func TestACheckHasWholeSnapshots(t *testing.T) {
	a := []task.Checked{component("a", "x"), component("a", "y"), component("a", "z")}
	b, c := component("b", "x"), component("c", "x")
	for name, tt := range map[string]struct {
		limit int
		all   []task.Checked
		want  int
	}{
		"nothing":               {1, nil, 0},
		"no limit":              {0, append(a, b, c), 5},
		"what fits":             {5, append(a, b, c), 5},
		"a part of one":         {2, a, 2},
		"and no other":          {2, append(a, b, c), 2},
		"several":               {4, append(a, b, c), 4},
		"no part of a Snapshot": {3, append([]task.Checked{b}, a...), 1},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(atMost(tt.limit, tt.all)).To(Equal(tt.all[:tt.want])) })
	}
}

// Whatever part of the Snapshots can be checked in time, each is checked at some time, and no one is called intact
// before.
func TestASlowRepositoryIsCheckedInParts(t *testing.T) {
	t.Parallel()
	for _, fits := range []int{1, 2, 3, 7, 20} {
		t.Run(fmt.Sprint(fits), func(t *testing.T) {
			t.Parallel()
			g, at := NewWithT(t), start
			var all []*v1alpha1.Snapshot
			for i := range 20 {
				all = append(all, checkable(fmt.Sprintf("s%02d", i), "x"))
			}
			r := usedRepository(func(r *v1alpha1.Repository) { r.Name = "web" })
			attempts, verified, whole, tries := Attempts{}, 0, (*bool)(nil), 0
			for ; whole == nil && tries < 60; tries++ {
				w := Work{Repository: r, Maintain: task.MaintainFull, Checks: true, Check: ToCheck(all, nil, at)}
				job, _ := attempts.Ready([]Work{w}, at)
				g.Expect(job).To(HaveLen(1))
				w, w.Began = job[0], metav1.NewTime(at)
				result := task.ComponentResult{Outcome: task.OutcomeSucceeded, Verified: int64(len(w.Check))}
				if len(w.Check) > fits {
					result = task.ComponentResult{Outcome: task.OutcomeFailed}
					result.Check = &task.Step{Reason: v1alpha1.ReasonDeadlineExceeded}
				}
				if v, ok := w.Verdict(result); ok {
					for _, s := range all {
						v.WriteTo(s, metav1.NewTime(at))
					}
					verified += len(w.Check)
					whole = v.Whole(all, true, w.Began, at)
					g.Expect(whole != nil).To(Equal(verified >= len(all)), "after %d", verified)
				}
				for range 2 { // a manager that is killed writes it again
					attempts.Count(fmt.Sprint(tries), metav1.NewTime(at), map[string]Ended{"web": w.Ended(result)})
				}
				at = at.Add(fullEvery)
			}
			g.Expect(whole).To(HaveValue(BeTrue()), "after %d tries", tries)
		})
	}
}

func TestACheckThatHadTimeCanHaveMoreTheNextTime(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before int
		ended  Ended
		want   int
	}{
		"never slow":                    {0, Ended{Verified: 100}, 0},
		"slow":                          {0, Ended{Failed: true, TooMany: 5}, 3},
		"still slow":                    {3, Ended{Failed: true, TooMany: 3}, 2},
		"one component":                 {1, Ended{Failed: true, TooMany: 1}, 1},
		"one of which it was known":     {8, Ended{Failed: true, TooMany: 1}, 8},
		"in time":                       {2, Ended{Verified: 2}, 4},
		"as many as a check ever has":   {200, Ended{Verified: 200}, 0},
		"work without a check":          {3, Ended{}, 3},
		"a check without an answer":     {3, Ended{Failed: true}, 3},
		"work without a check, at once": {0, Ended{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, a := NewWithT(t), Attempts{}
			if tt.before > 0 {
				a["web"] = Attempt{Job: "1", Check: tt.before}
			}
			for range 2 {
				a.Count("2", metav1.NewTime(start), map[string]Ended{"web": tt.ended})
			}
			g.Expect(a["web"].Check).To(Equal(tt.want))
			g.Expect(len(a) > 0).To(Equal(tt.want > 0 || tt.ended.Failed))
		})
	}
}

// fullWork is a full maintenance that checked these components, "<Snapshot>/<component>" each.
func fullWork(checked ...task.Checked) *Work {
	return &Work{Maintain: task.MaintainFull, Checks: true, Check: checked, Began: metav1.NewTime(start.Add(time.Hour))}
}

func component(snapshot, name string) task.Checked {
	return task.Checked{Snapshot: snapshot, UID: "uid", Component: name, ID: name}
}

func TestVerdictOnASnapshot(t *testing.T) {
	now := metav1.NewTime(start.Add(2 * time.Hour))
	for name, tt := range map[string]struct {
		change func(*v1alpha1.Snapshot)
		result task.ComponentResult
		want   *bool
		at     *metav1.Time
	}{
		"intact": {result: task.ComponentResult{Verified: 2}, want: new(true), at: &now},
		"damaged": {
			result: task.ComponentResult{Verified: 2, Damaged: []int{1}}, want: new(false), at: &now,
		},
		"the check ended in the middle": {result: task.ComponentResult{Verified: 1}},
		"damage was found before the check ended in the middle": {
			result: task.ComponentResult{Verified: 1, Damaged: []int{0}}, want: new(false),
		},
		"recreated since": {
			change: func(s *v1alpha1.Snapshot) { s.UID = "other" }, result: task.ComponentResult{Verified: 2},
		},
		"a component has other data": {
			change: func(s *v1alpha1.Snapshot) { s.Status.Components["y"] = v1alpha1.Component{ID: "z"} },
			result: task.ComponentResult{Verified: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			v, ok := fullWork(component("a", "x"), component("a", "y")).Verdict(tt.result)
			g.Expect(ok).To(BeTrue())
			g.Expect(v.Snapshots()).To(Equal([]string{"a"}))
			s := checkable("a", "x", "y")
			if tt.change != nil {
				tt.change(s)
			}
			v.WriteTo(s, now)
			g.Expect(s.Status.Integrity).To(Equal(tt.want))
			g.Expect(s.Status.LastCheckTime).To(Equal(tt.at))
		})
	}
}

func TestNoVerdict(t *testing.T) {
	for name, tt := range map[string]struct {
		work *Work
		want bool
	}{
		"quick maintenance":    {&Work{Maintain: task.MaintainQuick}, false},
		"nothing was verified": {fullWork(component("a", "x")), false},
		"nothing was to check": {fullWork(), true},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := tt.work.Verdict(task.ComponentResult{})
			NewWithT(t).Expect(ok).To(Equal(tt.want))
		})
	}
}

func TestUnjudged(t *testing.T) {
	made := func(s *v1alpha1.Snapshot, integrity *bool, at time.Duration) *v1alpha1.Snapshot {
		s.Status.Integrity, s.Status.SnapshotTime = integrity, &metav1.Time{Time: start.Add(at)}
		s.CreationTimestamp = *s.Status.SnapshotTime
		return s
	}
	cameBack := made(checkable("a", "x"), nil, 0)
	cameBack.CreationTimestamp = metav1.NewTime(start.Add(50 * time.Minute))
	scanned := made(checkable("a", "x"), nil, 50*time.Minute)
	scanned.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid"}
	r := &v1alpha1.Repository{}
	r.Status.MovedTime = &metav1.Time{Time: start.Add(30 * time.Minute)}
	intact, lost := checkedComponent{intact: true}, checkedComponent{}
	two := func() *v1alpha1.Snapshot { return made(checkable("a", "x", "y"), nil, 0) }
	var many []string
	for i := range maxChecked + 1 {
		many = append(many, strconv.Itoa(i))
	}
	for name, tt := range map[string]struct {
		snapshot *v1alpha1.Snapshot
		verdict  Verdict
		want     bool
	}{
		"it was never checked":                 {made(checkable("a", "x"), nil, 0), nil, true},
		"it was intact before":                 {made(checkable("a", "x"), new(true), 0), nil, false},
		"it is damaged":                        {made(checkable("a", "x"), new(false), 0), nil, false},
		"it was checked now":                   {made(checkable("a", "x"), nil, 0), Verdict{"a": {"x": intact}}, false},
		"a part of it was checked":             {two(), Verdict{"a": {"x": intact}}, true},
		"a part of it is lost":                 {two(), Verdict{"a": {"x": lost}}, false},
		"another one was checked":              {made(checkable("a", "x"), nil, 0), Verdict{"b": {"x": intact}}, true},
		"it is newer than the check":           {made(checkable("a", "x"), nil, 2*time.Hour), nil, false},
		"it is newer than the move":            {made(checkable("a", "x"), nil, 50*time.Minute), nil, false},
		"it came back after the move":          {cameBack, nil, true},
		"a scan made it after the move":        {scanned, nil, true},
		"it has nothing that a check looks at": {made(checkable("a"), nil, 0), nil, false},
		"it has more than a check can look at": {made(checkable("a", many...), nil, 0), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*v1alpha1.Snapshot{tt.snapshot}
			began := metav1.NewTime(start.Add(time.Hour))
			NewWithT(t).Expect(tt.verdict.Unjudged(r, all, began, start.Add(3*time.Hour))).To(Equal(tt.want))
		})
	}
}

func TestVerdictOnTheRepository(t *testing.T) {
	with := func(s *v1alpha1.Snapshot, integrity *bool, taken time.Duration) *v1alpha1.Snapshot {
		s.Status.Integrity, s.Status.SnapshotTime = integrity, &metav1.Time{Time: start.Add(taken)}
		return s
	}
	created := func(s *v1alpha1.Snapshot, at time.Duration) *v1alpha1.Snapshot {
		s.CreationTimestamp = metav1.NewTime(start.Add(at))
		return s
	}
	a := with(checkable("a", "x"), new(true), 0)
	for name, tt := range map[string]struct {
		others       []*v1alpha1.Snapshot
		checkedWhole bool
		want         *bool
	}{
		"all that was checked is intact":    {nil, true, new(true)},
		"something that was checked is not": {nil, false, new(false)},
		"another one was damaged before": {
			[]*v1alpha1.Snapshot{with(checkable("b", "x"), new(false), 0)}, true, new(false),
		},
		"another one was never checked": {
			[]*v1alpha1.Snapshot{with(checkable("b", "x"), nil, 0)}, true, nil,
		},
		"of another one a part was checked before": {
			[]*v1alpha1.Snapshot{with(partlyChecked("b", "x", "y"), nil, 0)}, true, nil,
		},
		"another one is newer than the check": {
			[]*v1alpha1.Snapshot{with(checkable("b", "x"), nil, 2*time.Hour)}, true, new(true),
		},
		"another one was being made when the check began": {
			[]*v1alpha1.Snapshot{created(with(checkable("b", "x"), nil, 2*time.Hour), -time.Hour)}, true, new(true),
		},
		"another one was never checked, and its clock was ahead": {
			[]*v1alpha1.Snapshot{created(with(checkable("b", "x"), nil, 365*24*time.Hour), -time.Hour)}, true, nil,
		},
		"another one has not ended": {[]*v1alpha1.Snapshot{{Status: v1alpha1.SnapshotStatus{
			Phase: v1alpha1.SnapshotRunning,
		}}}, true, new(true)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := fullWork(component("a", "x"))
			v, _ := w.Verdict(task.ComponentResult{Verified: 1})
			g.Expect(v.Whole(append(tt.others, a), tt.checkedWhole, w.Began, start.Add(3*time.Hour))).To(Equal(tt.want))
		})
	}
}
