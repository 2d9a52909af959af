package keeper

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// aged returns a Snapshot with one component, of a target of its own, that was made so many days after the start, and
// was checked so many days after it; 0 is never.
func aged(name string, made, checked int) *v1alpha1.Snapshot {
	s := checkable(name, "x")
	s.Spec.AppRef.Name = name
	s.Status.SnapshotTime = &metav1.Time{Time: start.Add(time.Duration(made) * 24 * time.Hour)}
	if checked > 0 {
		s.Status.LastCheckTime = &metav1.Time{Time: start.Add(time.Duration(checked) * 24 * time.Hour)}
	}
	return s
}

// halfChecked returns a Snapshot with two components that was made so many days after the start. One was checked.
func halfChecked(name string, made int) *v1alpha1.Snapshot {
	s := aged(name, made, 0)
	s.Status.Components["x"] = v1alpha1.Component{ID: "x", Integrity: new(true)}
	s.Status.Components["y"] = v1alpha1.Component{ID: "y"}
	return s
}

func TestTheNewestOfTheNeverCheckedComeFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		all  []*v1alpha1.Snapshot
		want []string
	}{
		"never checked, then the oldest check": {
			[]*v1alpha1.Snapshot{aged("a", 1, 9), aged("b", 2, 0), aged("c", 3, 8), aged("d", 4, 0)},
			[]string{"d", "b", "c", "a"},
		},
		"each fourth is the oldest": {
			[]*v1alpha1.Snapshot{
				aged("a", 1, 0), aged("b", 2, 0), aged("c", 3, 0), aged("d", 4, 0), aged("e", 5, 0), aged("f", 6, 0),
			},
			[]string{"f", "e", "d", "a", "c", "b"},
		},
		"the last check has left out the oldest": {
			[]*v1alpha1.Snapshot{aged("a", 1, 0), aged("b", 2, 0), aged("c", 3, 9), aged("d", 0, 8)},
			[]string{"a", "b", "d", "c"},
		},
		"the last check has left out the oldest, but begun another one": {
			[]*v1alpha1.Snapshot{
				aged("a", 1, 0), halfChecked("b", 2), aged("c", 3, 9), aged("d", 0, 8), aged("e", 4, 0),
			},
			[]string{"b", "a", "e", "d", "c"},
		},
		"the last check has not": {
			[]*v1alpha1.Snapshot{aged("a", 1, 0), aged("b", 2, 0), aged("c", 3, 9), aged("d", 0, 9)},
			[]string{"b", "a", "c", "d"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range inOrder(tt.all, start.Add(30*24*time.Hour)) {
				got = append(got, s.Name)
			}
			NewWithT(t).Expect(got).To(Equal(tt.want))
		})
	}
}

// More Snapshots are made than a check can look at. Each gets its turn all the same, and most are the newest.
func TestEachSnapshotIsCheckedAtSomeTimeAlthoughNewOnesCome(t *testing.T) {
	for _, room := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			g := NewWithT(t)
			var all []*v1alpha1.Snapshot
			for i := range 10 {
				all = append(all, aged(fmt.Sprint("old-", i), 0, 0))
			}
			old := slices.Clone(all)
			for day := 1; day <= 80; day++ {
				for i := range room {
					all = append(all, aged(fmt.Sprintf("s%02d-%d", day, i), day, 0))
				}
				order := inOrder(slices.Clone(all), start.Add(time.Duration(day)*24*time.Hour))
				for _, s := range order[:room] {
					s.Status.LastCheckTime = &metav1.Time{Time: start.Add(time.Duration(day) * 24 * time.Hour)}
				}
			}
			for _, s := range old {
				g.Expect(s.Status.LastCheckTime).NotTo(BeNil(), s.Name)
			}
			unchecked := 0
			for _, s := range all {
				if s.Status.LastCheckTime == nil {
					unchecked++
				}
			}
			g.Expect(unchecked).To(BeNumerically("<=", len(all)/2))
		})
	}
}
