package keeper

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// Work that takes too much memory must not keep the keeper from all other.
func TestWhoTookTooMuchMemoryWorksAlone(t *testing.T) {
	g, a := NewWithT(t), Attempts{}
	var work []Work
	for _, name := range []string{"a", "b", "c", "d"} {
		work = append(work, Work{Repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: name}}})
	}
	jobs := func() (names []string) {
		for second := range 60 {
			name := ""
			for _, w := range a.Apart(work, start.Add(time.Duration(second)*time.Second)) {
				name += w.Repository.Name
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		return names
	}
	g.Expect(jobs()).To(ConsistOf("abcd"))
	count := func(job string, ended map[string]Ended) { a.Count(job, metav1.NewTime(start), ended) }
	count("1", map[string]Ended{"b": {Failed: true, Killed: true}, "c": {Failed: true, Killed: true}})
	text, err := a.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	a = ParseAttempts(text)
	g.Expect(jobs()).To(ConsistOf("b", "c", "ad"), "none waits for ever")
	count("2", map[string]Ended{"b": {Failed: true}})
	g.Expect(jobs()).To(ConsistOf("b", "c", "ad"), "another failure tells nothing of its memory")
	count("3", map[string]Ended{"b": {}})
	g.Expect(jobs()).To(ConsistOf("b", "c", "ad"), "nor does what was not the check")
	count("4", map[string]Ended{"b": {Checked: true}})
	g.Expect(jobs()).To(ConsistOf("c", "abd"))
	count("5", map[string]Ended{"c": {Checked: true}})
	g.Expect(jobs()).To(ConsistOf("abcd"))
	g.Expect(a).To(BeEmpty())
}

// A Job that is killed forgets what it has removed: beside a check that takes too much memory, no removal would end.
// And a removal that always fails must not put off the check for ever.
func TestAfterACheckThatTookTooMuchMemoryOtherWorkTakesTurnsWithIt(t *testing.T) {
	later, both := start.Add(2*time.Hour), Work{
		Repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "web"}},
		Checks:     true, Check: []task.Checked{component("s", "a")},
		Snapshots: []*v1alpha1.Snapshot{{}}, Scan: "now",
	}
	check, other := both, both
	check.Snapshots, check.Scan = nil, ""
	other.Checks, other.Check = false, nil
	full := both
	full.Maintain = task.MaintainFull
	for name, tt := range map[string]struct {
		work, want Work
		attempt    Attempt
	}{
		"no failure of memory":     {both, both, Attempt{Count: 1}},
		"after one":                {both, other, Attempt{Count: 1, Alone: true}},
		"the other work failed":    {both, check, Attempt{Count: 2, Alone: true}},
		"the other work succeeded": {both, check, Attempt{Count: 0, Alone: true}},
		"a check alone":            {check, check, Attempt{Count: 1, Alone: true}},
		"with maintenance":         {full, full, Attempt{Count: 1, Alone: true}},
	} {
		g := NewWithT(t)
		tt.attempt.At = metav1.NewTime(start)
		due, _ := Attempts{"web": tt.attempt}.Ready([]Work{tt.work}, later)
		g.Expect(due).To(HaveLen(1), name)
		g.Expect(due[0].Checks).To(Equal(tt.want.Checks), name)
		g.Expect(due[0].Check).To(HaveLen(len(tt.want.Check)), name)
		g.Expect(due[0].Snapshots).To(HaveLen(len(tt.want.Snapshots)), name)
		g.Expect(due[0].Scan).To(Equal(tt.want.Scan), name)
	}
}
