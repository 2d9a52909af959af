package keeper

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// deleted returns deleted Snapshots whose IDs have this length.
func deleted(n, id int) []*v1alpha1.Snapshot {
	var out []*v1alpha1.Snapshot
	for i := range n {
		s := &v1alpha1.Snapshot{}
		s.Name = fmt.Sprintf("web-nightly-%04d", i)
		s.Status.Components = map[string]v1alpha1.Component{"data": {ID: strings.Repeat("i", id)}}
		out = append(out, s)
	}
	return out
}

// fullMaintenance is due in a Repository, with n components to check.
func fullMaintenance(repository string, n int, removals ...*v1alpha1.Snapshot) Work {
	w := Work{
		Repository: usedRepository(func(r *v1alpha1.Repository) { r.Name = repository }),
		Snapshots:  removals, Maintain: task.MaintainFull, Checks: true,
	}
	for i := range n {
		w.Check = append(w.Check, component(fmt.Sprintf("%s-%04d", repository, i), "data"))
	}
	return w
}

// A check of no component would find everything intact. The maintenance is left, too: otherwise the check would have to
// wait for the next maintenance, which is due a week later.
func TestACheckWithoutRoomIsLeftToTheNextJob(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	first, empty := fullMaintenance("first", 2000), fullMaintenance("empty", 0)
	second := fullMaintenance("second", 3)
	second.Scan = "now"
	third := fullMaintenance("third", 3)

	job, _ := Attempts{}.Ready([]Work{first, second, third, empty}, start)
	g.Expect(job).To(HaveLen(3), "nothing is left of the third")
	g.Expect(job[0].Maintain).To(Equal(task.MaintainFull))
	g.Expect(job[0].Check).NotTo(BeEmpty())
	g.Expect(job[1].Scan).To(Equal("now"))
	g.Expect(job[1].Maintain).To(BeEmpty(), "its check has no room")
	done, _ := job[1].Split(task.ComponentResult{Outcome: task.OutcomeSucceeded})
	g.Expect(done.Checks).To(BeFalse(), "what nobody checked is not reported as checked")
	_, ok := done.Verdict(task.ComponentResult{})
	g.Expect(ok).To(BeFalse(), "and not as intact")
	g.Expect(job[2].Repository.Name).To(Equal("empty"))
	g.Expect(job[2].Checks).To(BeTrue(), "nothing is to be checked in an empty repository")

	job, _ = Attempts{}.Ready([]Work{second, third}, start)
	g.Expect(job).To(HaveLen(2))
	for _, w := range job {
		g.Expect(w.Maintain).To(Equal(task.MaintainFull), "the next Job does it")
		g.Expect(w.Check).To(HaveLen(3))
	}
}

// Removals that fail come with each Job. They leave room for the check, so that it and its maintenance are done at all.
func TestRemovalsLeaveRoomForAMaintenance(t *testing.T) {
	t.Parallel()
	quick := fullMaintenance("web", 0, deleted(450, 200)...)
	quick.Maintain, quick.Checks = task.MaintainQuick, false
	for name, tt := range map[string]struct {
		all               []Work
		removals, checked []int
	}{
		"many removals and a check":  {[]Work{fullMaintenance("web", 3, deleted(450, 200)...)}, []int{147}, []int{3}},
		"a removal as large as half": {[]Work{fullMaintenance("web", 3, deleted(2, 60<<10)...)}, []int{0}, []int{3}},
		"removals of another Repository": {
			[]Work{{Snapshots: deleted(450, 200)}, fullMaintenance("web", 3)}, []int{147, 0}, []int{0, 3},
		},
		"a large check before removals": {
			[]Work{fullMaintenance("web", 600), {Snapshots: deleted(450, 200)}}, []int{0, 101}, []int{600, 0},
		},
		"a quick maintenance": {[]Work{quick}, []int{295}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			job := limitToJob(tt.all)
			g.Expect(job).To(HaveLen(len(tt.all)))
			var removals, checked []int
			for i, w := range job {
				removals, checked = append(removals, len(w.Snapshots)), append(checked, len(w.Check))
				g.Expect(w.Maintain).To(Equal(tt.all[i].Maintain), "no maintenance is put off")
			}
			g.Expect(removals).To(Equal(tt.removals))
			g.Expect(checked).To(Equal(tt.checked))
		})
	}
}

// A check that fails each time comes with each Job. Neither it nor a removal that fails each time may put off the other
// for ever, nor what is behind a removal that finds no room.
func TestACheckThatFailsAndALargeRemovalTakeTurns(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		id     int // the length of the large one's ID
		fails  bool
		checks []int
		larges []int
	}{
		"as large as half":                 {60 << 10, false, []int{3, 3, 3, 3, 3, 3}, []int{0, 1, 0, 1, 0, 1}},
		"too large for any Job":            {200 << 10, false, []int{3, 0, 3, 0, 3, 0}, []int{0, 1, 0, 1, 0, 1}},
		"too large, and its removal fails": {200 << 10, true, []int{3, 0, 3, 0, 3, 0}, []int{0, 1, 0, 1, 0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			large := deleted(1, tt.id)[0]
			small := deleted(3, 32)[1:]
			all := []Work{fullMaintenance("web", 3, append([]*v1alpha1.Snapshot{large}, small...)...)}
			attempts, now := Attempts{}, start
			var checks, larges []int
			for i := range 6 {
				job, _ := attempts.Ready(all, now)
				g.Expect(job).To(HaveLen(1))
				checks = append(checks, len(job[0].Check))
				n := 0
				if slices.Contains(job[0].Snapshots, large) {
					n = 1
				} else {
					g.Expect(job[0].Snapshots).To(Equal(small), "they do not wait for the large one")
				}
				larges = append(larges, n)
				failed := len(job[0].Check) > 0 || tt.fails && n > 0
				attempts.Count(fmt.Sprint(i), metav1.NewTime(now), map[string]Ended{"web": {Failed: failed}})
				now = now.Add(lastRetry)
			}
			g.Expect(checks).To(Equal(tt.checks))
			g.Expect(larges).To(Equal(tt.larges))
		})
	}
}
