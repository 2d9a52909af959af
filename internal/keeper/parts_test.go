package keeper

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// partlyChecked returns a Snapshot whose first component was found intact.
func partlyChecked(name, first string, others ...string) *v1alpha1.Snapshot {
	s := checkable(name, append(others, first)...)
	s.Status.Components[first] = v1alpha1.Component{ID: first, Integrity: new(true)}
	return s
}

// large returns a Snapshot that has more components than a check can look at.
func large(name string, days int) *v1alpha1.Snapshot {
	s := aged(name, days, 0)
	s.Status.Components = map[string]v1alpha1.Component{}
	for i := range 2*maxChecked + 100 {
		s.Status.Components[fmt.Sprintf("c%03d", i)] = v1alpha1.Component{ID: fmt.Sprint(name, i)}
	}
	return s
}

// A large Snapshot takes several checks, also if another one is made each week. Nothing calls it intact before.
func TestALargeSnapshotIsCheckedInParts(t *testing.T) {
	g := NewWithT(t)
	all := []*v1alpha1.Snapshot{aged("small", 0, 0)}
	var did []string
	for week := range 9 {
		all = append(all, large(fmt.Sprintf("large-%d", week), 7*week+1))
		at := start.Add(time.Duration(7*week+2) * 24 * time.Hour)
		w := fullWork(ToCheck(all, nil, at)...)
		w.Began = metav1.NewTime(at)
		g.Expect(len(w.Check)).To(And(BeNumerically(">", 0), BeNumerically("<=", maxChecked)))
		v, ok := w.Verdict(task.ComponentResult{Verified: int64(len(w.Check))})
		g.Expect(ok).To(BeTrue())
		g.Expect(v.Whole(all, true, w.Began, at)).To(BeNil())
		for _, s := range all {
			before := s.Status.LastCheckTime
			v.WriteTo(s, metav1.NewTime(at))
			g.Expect(s.Status.Integrity == nil).To(Equal(s.Status.LastCheckTime == nil))
			if s.Status.LastCheckTime != before {
				did = append(did, fmt.Sprint(week, " ", s.Name))
			}
		}
	}
	g.Expect(did).To(Equal([]string{"2 large-0", "4 small", "4 large-2", "6 large-4"}))
}

// What has no room in a check is not left out each time.
func TestEachPartOfALargeSnapshotIsCheckedAgain(t *testing.T) {
	g, s := NewWithT(t), large("large", 0)
	seen := map[string]bool{}
	for name, c := range s.Status.Components {
		c.Integrity = new(true)
		s.Status.Components[name] = c
	}
	for week := 1; week <= 30; week++ {
		checked := ToCheck([]*v1alpha1.Snapshot{s}, nil, start.Add(time.Duration(week)*fullEvery))
		g.Expect(checked).To(HaveLen(maxChecked))
		for _, c := range checked {
			seen[c.Component] = true
		}
	}
	g.Expect(seen).To(HaveLen(len(s.Status.Components)))
}
