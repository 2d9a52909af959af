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

// madeAfter returns a Snapshot that was made so many hours after the start.
func madeAfter(hours int, change func(*v1alpha1.Snapshot)) *v1alpha1.Snapshot {
	name := fmt.Sprintf("s%03d", hours)
	s := checkable(name, "id-"+name)
	s.CreationTimestamp = metav1.NewTime(start.Add(time.Duration(hours) * time.Hour))
	s.Status.SnapshotTime = &s.CreationTimestamp
	if change != nil {
		change(s)
	}
	return s
}

func TestWitnessesAreWhatTheRepositoryMustHold(t *testing.T) {
	t.Parallel()
	g, now := NewWithT(t), start.Add(24*time.Hour)
	snapshots := []*v1alpha1.Snapshot{
		madeAfter(1, nil),
		madeAfter(2, func(s *v1alpha1.Snapshot) { s.Status.Phase = v1alpha1.SnapshotFailed }),
		madeAfter(3, func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }),
		madeAfter(4, func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(true) }),
		madeAfter(5, func(s *v1alpha1.Snapshot) { s.DeletionTimestamp = &metav1.Time{Time: now} }),
		madeAfter(6, func(s *v1alpha1.Snapshot) { // of another Repository of this name, whose data lies elsewhere
			other := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "uid-0"}}
			s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(other,
				v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))}
		}),
		madeAfter(7, func(s *v1alpha1.Snapshot) { s.Status.Components = nil }),
		madeAfter(8, func(s *v1alpha1.Snapshot) {
			early, late := metav1.NewTime(start), metav1.NewTime(now)
			s.Status.Components = map[string]v1alpha1.Component{
				"a": {ID: "early", CompletionTime: &early}, "b": {ID: "late", CompletionTime: &late},
				"c": {ID: "unknown"},
			}
		}),
	}
	want := []task.Witness{
		{Snapshot: "s008", ID: "late"}, {Snapshot: "s004", ID: "id-s004"}, {Snapshot: "s001", ID: "id-s001"},
	}
	at := &metav1.Time{Time: now}
	removed := []*v1alpha1.Snapshot{madeAfter(0, nil)}
	for name, tt := range map[string]struct {
		work   Work
		change func(*v1alpha1.Repository)
		want   []task.Witness
	}{
		"a removal":         {work: Work{Snapshots: removed}, want: want},
		"a maintenance":     {work: Work{Maintain: task.MaintainQuick}, want: want},
		"a check alone":     {work: Work{Checks: true}},
		"a scan":            {work: Work{Scan: "s"}},
		"a wipe":            {work: Work{Wipe: true}},
		"before the check":  {Work{Snapshots: removed}, func(r *v1alpha1.Repository) { r.Status.MovedTime = at }, nil},
		"before it is back": {Work{Snapshots: removed}, func(r *v1alpha1.Repository) { r.Status.GoneTime = at }, nil},
	} {
		w := tt.work
		w.Repository = usedRepository(tt.change)
		w.Witness(snapshots, now)
		g.Expect(w.Witnesses).To(Equal(tt.want), name)
	}
}

// A storage can go back by hours or by weeks.
func TestWitnessesOfManySnapshots(t *testing.T) {
	t.Parallel()
	g, now := NewWithT(t), start.Add(2000*time.Hour)
	for _, count := range []int{1, maxWitnesses, maxWitnesses + 1, 25, 1000} {
		var snapshots []*v1alpha1.Snapshot
		for i := range count {
			snapshots = append(snapshots, madeAfter(i, nil))
		}
		w := Work{Repository: usedRepository(nil), Maintain: task.MaintainQuick}
		w.Witness(snapshots, now)
		g.Expect(w.Witnesses).To(HaveLen(min(count, maxWitnesses)))
		seen := map[string]bool{}
		for i, witness := range w.Witnesses {
			g.Expect(seen[witness.ID]).To(BeFalse(), "%d: %v", count, w.Witnesses)
			seen[witness.ID] = true
			if i < maxWitnesses/2 {
				g.Expect(witness.Snapshot).To(Equal(snapshots[count-1-i].Name))
			}
		}
		g.Expect(seen["id-s000"]).To(BeTrue(), "the oldest one, too")
	}
}
