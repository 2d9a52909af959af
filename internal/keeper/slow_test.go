package keeper

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

const tooLong = v1alpha1.ReasonDeadlineExceeded

// Components of which a check alone takes too long hold up no other, say so, and are tried again at times.
func TestASlowSnapshotHoldsUpNoOther(t *testing.T) {
	for name, tt := range map[string]struct{ slow, quick, every, nightly int }{
		"one of several":                 {1, 3, 0, 0},
		"several":                        {3, 3, 0, 0},
		"while others come":              {2, 1, 2, 0},
		"nothing else":                   {2, 0, 0, 0},
		"each backup of a target":        {0, 30, 0, 1},
		"of a target, while others come": {0, 30, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g, r := NewWithT(t), usedRepository(func(r *v1alpha1.Repository) { r.Name = "web" })
			isSlow, tries, attempts := map[string]bool{}, map[string]int{}, Attempts{}
			var all []*v1alpha1.Snapshot
			add := func(name string, slow bool, day int) {
				isSlow[name] = slow
				all = append(all, aged(name, day, 0))
			}
			for i := range tt.slow {
				add(fmt.Sprint("slow-", i), true, 10+i)
			}
			for i := range tt.quick {
				add(fmt.Sprint("quick-", i), false, i)
			}
			for day := 20; day < 120; day++ {
				if tt.every > 0 && day%tt.every == 0 && day < 110 {
					add(fmt.Sprint("new-", day), false, day)
				}
				if tt.nightly > 0 && day < 110 {
					name := fmt.Sprint("big-", day)
					add(name, true, day)
					all[len(all)-1].Spec.AppRef.Name = "big"
				}
				at := start.Add(time.Duration(day) * 24 * time.Hour)
				w := Work{Repository: r, Maintain: task.MaintainFull, Checks: true, Check: ToCheck(all, nil, at)}
				job, _ := attempts.Ready([]Work{w}, at)
				g.Expect(job).To(HaveLen(1))
				w = job[0]
				result := task.ComponentResult{Outcome: task.OutcomeSucceeded, Verified: int64(len(w.Check))}
				for _, c := range w.Check {
					if isSlow[c.Snapshot] {
						result = task.ComponentResult{Outcome: task.OutcomeFailed}
						result.Check = &task.Step{Reason: v1alpha1.ReasonDeadlineExceeded}
					}
				}
				if v, ok := w.Verdict(result); ok && result.Check == nil {
					for _, s := range all {
						v.WriteTo(s, metav1.NewTime(at))
					}
				} else if len(w.Check) == 1 {
					for _, s := range all {
						if s.Name == w.Check[0].Snapshot {
							MarkSlow(s, w.Check[0], tooLong, "too long", metav1.NewTime(at))
							tries[s.Name]++
						}
					}
				}
				attempts.Count(fmt.Sprint(day), metav1.NewTime(at), map[string]Ended{"web": w.Ended(result)})
			}
			for _, s := range all {
				c := apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionChecked)
				if s.Spec.AppRef.Name == "big" {
					continue // one of them is tried at times
				}
				if isSlow[s.Name] {
					g.Expect(c).To(HaveField("Reason", v1alpha1.ReasonDeadlineExceeded), s.Name)
					g.Expect(tries[s.Name]).To(BeNumerically(">", 2), s.Name)
					continue
				}
				g.Expect(c).To(BeNil())
				g.Expect(s.Status.Integrity).To(HaveValue(BeTrue()), s.Name)
			}
		})
	}
}

func TestWhatWasSlowIsCheckedLikeOthersOnceItHasTime(t *testing.T) {
	g, s, at := NewWithT(t), checkable("a", "x", "y"), metav1.NewTime(start)
	MarkSlow(s, task.Checked{Snapshot: "a", UID: "other", Component: "x", ID: "x"}, tooLong, "too long", at)
	g.Expect(s.Status.Conditions).To(BeEmpty(), "it was recreated")
	MarkSlow(s, component("a", "x"), tooLong, "too long", at)
	others := []*v1alpha1.Snapshot{s, aged("b", 0, 0)}
	g.Expect(ToCheck(others, nil, start)).To(Equal([]task.Checked{component("b", "x")}))
	g.Expect(ToCheck(others, nil, start.Add(-48*time.Hour))).To(HaveExactElements(HaveField("Snapshot", "a")),
		"a clock was ahead")
	tried := ToCheck(others, nil, start.Add(slowAgain))
	g.Expect(tried).To(HaveExactElements(HaveField("Snapshot", "a")))
	v, _ := fullWork(tried...).Verdict(task.ComponentResult{Verified: 1})
	v.WriteTo(s, at)
	g.Expect(s.Status.Conditions).NotTo(BeEmpty(), "the rest of it can be what takes long")
	rest := ToCheck(others, nil, start.Add(slowAgain))
	g.Expect(rest).To(HaveExactElements(HaveField("Snapshot", "a")))
	g.Expect(rest).NotTo(Equal(tried))
	v, _ = fullWork(rest...).Verdict(task.ComponentResult{Verified: 1})
	v.WriteTo(s, at)
	g.Expect(s.Status.Conditions).To(BeEmpty())
	g.Expect(ToCheck(others, nil, start.Add(slowAgain))).To(HaveLen(3), "like others")
}

// What was never checked is taken for what the nearest in time is that was.
func TestWhatIsTakenForSlow(t *testing.T) {
	big := func(name string, made, checked int, slow bool) *v1alpha1.Snapshot {
		s := aged(name, made, checked)
		s.Spec.AppRef.Name = "big"
		if slow {
			MarkSlow(s, component(name, "x"), tooLong, "too long", metav1.NewTime(start.Add(20*24*time.Hour)))
		}
		return s
	}
	other := big("other", 5, 0, false)
	other.Spec.Session = "other"
	all := []*v1alpha1.Snapshot{
		aged("small", 5, 0), other, big("in-time", 2, 9, false), big("near-in-time", 3, 0, false),
		big("between", 4, 0, false), big("near-slow", 5, 0, false), big("slow", 6, 0, true), big("newer", 7, 0, false),
		big("checked-later", 8, 21, false),
	}
	slow, others := splitSlow(all, start.Add(30*24*time.Hour))
	g := NewWithT(t)
	g.Expect(slow).To(HaveLen(1))
	g.Expect(slow[0].tried).To(HaveExactElements(HaveField("Name", "slow")), "it is too large, whatever others are")
	g.Expect(slow[0].waiting).To(HaveExactElements(HaveField("Name", "near-slow")))
	g.Expect(others).To(HaveLen(7))
	all[2].Status.Conditions = slices.Clone(all[6].Status.Conditions)
	slow, others = splitSlow(all, start.Add(30*24*time.Hour))
	g.Expect(slow).To(BeEmpty(), "the storage was slow")
	g.Expect(others).To(HaveLen(len(all)))
}

// The nearest in time is found without a walk over all: it is the same as with one, also among several at the same time
// or as far away, and where no time is known.
func TestTheNearestInTimeIsThatOfAWalkOverAll(t *testing.T) {
	now := start.Add(300 * 24 * time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		days := 1 + random.IntN(40)
		var all, known []*v1alpha1.Snapshot
		for i := range 1 + random.IntN(30) {
			s := aged(fmt.Sprint(i), random.IntN(days), 0)
			s.Spec.AppRef.Name = "web"
			if random.IntN(15) == 0 {
				s.Status.SnapshotTime = nil
			}
			switch random.IntN(3) {
			case 0:
				MarkSlow(s, component(s.Name, "x"), tooLong, "too long", metav1.NewTime(start.Add(200*24*time.Hour)))
				known = append(known, s)
			case 1:
				s.Status.LastCheckTime = &metav1.Time{Time: start.Add(100 * 24 * time.Hour)}
				known = append(known, s)
			}
			all = append(all, s)
		}
		k := slowOf(all, now)[seriesOf(all[0])]
		if k == nil {
			continue // none was slow
		}
		for _, s := range all {
			wantSlow, wantAway := walk(s, known, now)
			slow, away := k.likeSlow(s, now)
			NewWithT(t).Expect([]any{slow, away}).To(Equal([]any{wantSlow, wantAway}))
		}
	}
}

// walk returns what likeSlow returns for a Snapshot, or for one that is known itself.
func walk(s *v1alpha1.Snapshot, known []*v1alpha1.Snapshot, now time.Time) (slow bool, away time.Duration) {
	away = math.MaxInt64
	for _, o := range known {
		if o == s {
			return isSlow(s), 0
		}
		if d := madeBy(o, now).Sub(madeBy(s, now)).Abs(); d < away || d == away && !isSlow(o) {
			slow, away = isSlow(o), d
		}
	}
	return slow, away
}

// What was slow for some time, such as a storage that was being repaired, is checked like others afterwards. What is
// slow in one component of many takes no more than its turns.
func TestASlowSeriesTakesNoMoreThanItsTurns(t *testing.T) {
	for name, tt := range map[string]struct {
		components int
		slowUntil  int // the day
		most       int // checks of the series alone, from day 30 on
	}{
		"slow for some time":     {components: 1, slowUntil: 30, most: 3},
		"slow for ever":          {components: 1, slowUntil: 1000, most: 20},
		"one component of many":  {components: 10, slowUntil: 1000, most: 20},
		"of many, for some time": {components: 10, slowUntil: 60, most: 14},
	} {
		t.Run(name, func(t *testing.T) {
			g, r, attempts := NewWithT(t), usedRepository(func(r *v1alpha1.Repository) { r.Name = "web" }), Attempts{}
			all, alone := []*v1alpha1.Snapshot{}, 0
			for day := 1; day < 400; day++ {
				big, small := aged(fmt.Sprint("big-", day), day, 0), aged(fmt.Sprint("small-", day), day, 0)
				big.Spec.AppRef.Name, small.Spec.AppRef.Name = "big", "small"
				for i := range tt.components {
					name := fmt.Sprint("x", i)
					big.Status.Components[name] = v1alpha1.Component{ID: name}
				}
				delete(big.Status.Components, "x")
				all = append(all, big, small)
				if day > 60 { // retention, which keeps the first ones
					all = append(all[:6:6], all[8:]...)
				}
				if day%7 != 0 {
					continue
				}
				// Two hours are soon over: the next attempt of a check follows on the same day.
				for attempt := range 12 {
					at := start.Add(time.Duration(day)*24*time.Hour + time.Duration(attempt)*2*time.Hour)
					w := Work{Repository: r, Maintain: task.MaintainFull, Checks: true, Check: ToCheck(all, nil, at)}
					job, _ := attempts.Ready([]Work{w}, at)
					if len(job) == 0 {
						continue
					}
					w = job[0]
					if day >= 30 && len(w.Check) == 1 && strings.HasPrefix(w.Check[0].Snapshot, "big-") {
						alone++
					}
					result := task.ComponentResult{Outcome: task.OutcomeSucceeded, Verified: int64(len(w.Check))}
					for _, c := range w.Check {
						if day < tt.slowUntil && strings.HasPrefix(c.Snapshot, "big-") && c.Component == "x0" {
							result = task.ComponentResult{Outcome: task.OutcomeFailed}
							result.Check = &task.Step{Reason: v1alpha1.ReasonDeadlineExceeded}
						}
					}
					for _, s := range all {
						if v, ok := w.Verdict(result); ok && result.Check == nil {
							v.WriteTo(s, metav1.NewTime(at))
						} else if len(w.Check) == 1 && s.Name == w.Check[0].Snapshot {
							MarkSlow(s, w.Check[0], tooLong, "too long", metav1.NewTime(at))
						}
					}
					id := fmt.Sprint(day, attempt)
					attempts.Count(id, metav1.NewTime(at), map[string]Ended{"web": w.Ended(result)})
					if result.Check == nil {
						break
					}
				}
			}
			unchecked := 0
			for _, s := range all {
				if s.Spec.AppRef.Name == "small" && s.Status.Integrity == nil {
					unchecked++
				}
			}
			g.Expect(unchecked).To(BeNumerically("<=", 20), "the checks grow again by and by")
			g.Expect(alone).To(BeNumerically("<=", tt.most))
		})
	}
}
