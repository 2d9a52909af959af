package rebuilt

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
)

// of is a component that ran for a time by a clock that was off.
func of(slot time.Time, off, took time.Duration) v1alpha1.Component {
	return v1alpha1.Component{
		Phase: v1alpha1.SnapshotSucceeded, ID: "k",
		StartTime:      &metav1.Time{Time: slot.Add(off)},
		CompletionTime: &metav1.Time{Time: slot.Add(off).Add(took)},
	}
}

// madeAgain returns the Snapshot of a slot with these components.
func madeAgain(t *testing.T, slot time.Time, components ...v1alpha1.Component) *v1alpha1.Snapshot {
	t.Helper()
	return again(t, &Order{}, inBackend(slot, components...))
}

// inBackend returns what a scan finds of the run of a slot with these components.
func inBackend(slot time.Time, components ...v1alpha1.Component) task.Found {
	run := policy.BackupSessionName("web", "nightly", slot)
	f := task.Found{
		Name: policy.SnapshotName("web", run), UID: "uid", Total: int32(len(components)),
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: backup.SnapshotID(slot, "web"), BackupSession: run, Session: "nightly",
		},
		Components: map[string]v1alpha1.Component{},
	}
	for i, c := range components {
		f.Components[string(rune('a'+i))] = c
	}
	return f
}

// again returns the Snapshot that is made of what a scan found.
func again(t *testing.T, order *Order, f task.Found) *v1alpha1.Snapshot {
	t.Helper()
	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "r"}}
	s, refusal := Snapshot(r, f, Policies{}, order, now)
	NewWithT(t).Expect(refusal).To(BeEmpty())
	s.CreationTimestamp = metav1.NewTime(now)
	return s
}

// In January the clock of a node was ahead. The manager said so and counted its own time. In November the Repository is
// scanned: the Snapshot of January is still older than that of yesterday.
func TestAScanDoesNotMakeOldSnapshotsNew(t *testing.T) {
	t.Parallel()
	january := time.Date(2026, 1, 14, 2, 0, 0, 0, time.UTC)
	for name, ahead := range map[string]time.Duration{
		"a year ahead": 365 * 24 * time.Hour, "ahead until the scan": now.Sub(january) - time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, slot := NewWithT(t), now.Add(-24*time.Hour)
			old := madeAgain(t, january, of(january, ahead, time.Minute))
			yesterday := madeAgain(t, slot, of(slot, 0, time.Minute))
			latest, _ := restore.Latest([]v1alpha1.Snapshot{*old, *yesterday}, "web", restore.Before{}, now)
			g.Expect(latest.Name).To(Equal(yesterday.Name))
			verdicts := retention.Policy{Rules: []retention.Rule{{Name: "last", Count: 1}}, Zone: time.UTC}.Decide(
				[]retention.Snapshot{retention.FromSnapshot(old, ""), retention.FromSnapshot(yesterday, "")},
				now.Add(10*24*time.Hour))
			for _, v := range verdicts {
				g.Expect(v.Goes()).To(Equal(v.Name == old.Name), v.Name)
			}
		})
	}
}

// The time of a rebuilt Snapshot lies within its run.
func TestARebuiltSnapshotIsOfItsRun(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	slot := now.Add(-100 * time.Hour)
	for name, tt := range map[string]struct {
		components []v1alpha1.Component
		want       time.Duration // after the slot
	}{
		"right clocks": {
			[]v1alpha1.Component{of(slot, 0, time.Hour), of(slot, time.Hour, time.Hour)}, 2 * time.Hour,
		},
		"a run that waited": {
			[]v1alpha1.Component{of(slot, 18*time.Hour, 10*time.Minute)}, 18*time.Hour + 10*time.Minute,
		},
		"one of two clocks ahead": {
			[]v1alpha1.Component{of(slot, 0, time.Hour), of(slot, year, time.Minute)}, time.Hour + time.Minute,
		},
		"a clock that was put right": {
			[]v1alpha1.Component{of(slot, -year, year+2*time.Hour)}, 2 * time.Hour,
		},
		"a clock that was put right by too much": {
			[]v1alpha1.Component{of(slot, -year, year+49*time.Hour)}, 0,
		},
		"a clock behind": {[]v1alpha1.Component{of(slot, -year, time.Hour)}, 0},
		"a clock that was set back during the backup": {
			[]v1alpha1.Component{of(slot, year, -time.Hour)}, 0,
		},
		"a clock that was set forward to the right time": {
			[]v1alpha1.Component{of(slot, -year, year+time.Minute)}, time.Minute,
		},
		"no time":      {[]v1alpha1.Component{{Phase: v1alpha1.SnapshotSucceeded, ID: "k"}}, 0},
		"no component": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := madeAgain(t, slot, tt.components...)
			NewWithT(t).Expect(s.MadeAt().Time).To(BeTemporally("==", slot.Add(tt.want)))
		})
	}
	unusable := v1alpha1.Snapshot{Status: Unusable(backup.SnapshotID(slot, "web"), now)}
	NewWithT(t).Expect(unusable.Status.SnapshotTime.Time).To(BeTemporally("==", slot))
}

// The slots of a session's runs tell their order, whatever the clocks of the movers' nodes said.
func TestAScanKeepsTheOrderOfASession(t *testing.T) {
	t.Parallel()
	slot := now.Add(-24 * time.Hour)
	for name, tt := range map[string]struct {
		runs   []task.Found
		other  string        // the session of the last run, if it is another one
		newest time.Duration // after slot
	}{
		"a clock was three hours ahead": {
			runs: []task.Found{
				inBackend(slot, of(slot, 3*time.Hour, time.Minute)),
				inBackend(slot.Add(time.Hour), of(slot.Add(time.Hour), 0, time.Minute)),
			},
			newest: time.Hour,
		},
		"and the next one was behind": {
			runs: []task.Found{
				inBackend(slot, of(slot, 3*time.Hour, time.Minute)),
				inBackend(slot.Add(time.Hour), of(slot.Add(time.Hour), -3*time.Hour, time.Minute)),
			},
			newest: time.Hour,
		},
		"two clocks were ahead": {
			runs: []task.Found{
				inBackend(slot, of(slot, 5*time.Hour, time.Minute)),
				inBackend(slot.Add(time.Hour), of(slot.Add(time.Hour), 3*time.Hour, time.Minute)),
				inBackend(slot.Add(2*time.Hour), of(slot.Add(2*time.Hour), 0, time.Minute)),
			},
			newest: 2 * time.Hour,
		},
		"a long run beside a shorter one": {
			runs: []task.Found{
				inBackend(slot, of(slot, 0, 6*time.Hour)),
				inBackend(slot.Add(time.Hour), of(slot.Add(time.Hour), 0, time.Minute)),
			},
		},
		"parts beside each other, of which one clock was ahead": {
			runs: []task.Found{
				inBackend(slot, of(slot, 0, 50*time.Minute), of(slot, 0, 50*time.Minute), of(slot, 0, 50*time.Minute),
					of(slot, 3*time.Hour, 50*time.Minute)),
				inBackend(slot.Add(time.Hour), of(slot.Add(time.Hour), 0, time.Minute)),
			},
			newest: time.Hour,
		},
		"a run that failed": {
			runs: []task.Found{
				inBackend(slot, of(slot, 3*time.Hour, time.Minute)),
				func() task.Found {
					c := of(slot.Add(time.Hour), 0, time.Minute)
					c.Phase, c.ID = v1alpha1.SnapshotFailed, ""
					return inBackend(slot.Add(time.Hour), c)
				}(),
			},
		},
		"a late run of another session": {
			runs: []task.Found{
				inBackend(slot, of(slot, 3*time.Hour, time.Minute)),
				inBackend(slot.Add(time.Hour), of(slot.Add(time.Hour), 0, time.Minute)),
			},
			other: "weekly",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, order := NewWithT(t), &Order{}
			if tt.other != "" {
				tt.runs[len(tt.runs)-1].Spec.Session = tt.other
			}
			for _, f := range tt.runs {
				order.See(f, now)
			}
			var made []v1alpha1.Snapshot
			for _, f := range tt.runs {
				s := again(t, order, f)
				began, _ := v1alpha1.SnapshotIDTime(f.Spec.SnapshotID)
				g.Expect(s.MadeAt().Time).To(BeTemporally(">=", began))
				if made = append(made, *s); tt.newest == 0 {
					g.Expect(s.Status.SnapshotTime).To(Equal(madeAt(f.Spec.SnapshotID, f.Components, now)))
				}
			}
			newest, _ := restore.Latest(made, "web", restore.Before{}, now)
			began, _ := v1alpha1.SnapshotIDTime(newest.Spec.SnapshotID)
			g.Expect(began).To(BeTemporally("==", slot.Add(tt.newest)))
		})
	}
}

// A rule for hours keeps one Snapshot of each. One whose clock was ahead must not come into the hour of the next.
func TestAScanKeepsTheHourOfARun(t *testing.T) {
	t.Parallel()
	g, order := NewWithT(t), &Order{}
	slot := now.Add(-24 * time.Hour)
	ahead := inBackend(slot, of(slot, 3*time.Hour, time.Minute))
	next := inBackend(slot.Add(time.Hour), of(slot.Add(time.Hour), 0, time.Minute))
	order.See(ahead, now)
	order.See(next, now)
	g.Expect(again(t, order, ahead).MadeAt().Time).To(BeTemporally("==", slot.Add(time.Minute)))
	g.Expect(again(t, order, next).MadeAt().Time).To(BeTemporally("==", slot.Add(61*time.Minute)))
}
