package retention_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// A run and its retries stay or go together. Each run of a BackupConfiguration stands for itself.
func TestTheRestorePointOfASnapshot(t *testing.T) {
	g := NewWithT(t)
	point := func(kind, run, label string) string {
		s := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelInvokerKind: kind}},
			Spec:       v1alpha1.SnapshotSpec{BackupSession: run},
		}
		if label != "" {
			s.Labels[v1alpha1.LabelRestorePoint] = label
		}
		return retention.FromSnapshot(s, "").Point
	}
	g.Expect(point(v1alpha1.BackupBatchKind, "run", "run")).To(Equal("run"))
	g.Expect(point(v1alpha1.BackupBatchKind, "run-r2", "run")).To(Equal("run"))
	g.Expect(point(v1alpha1.BackupBatchKind, "run", "")).To(Equal("run"), "of a manager that did not say so")
	g.Expect(point(v1alpha1.BackupConfigurationKind, "run-r1", "")).To(BeEmpty())
}

// Two of the clocks of the manager, the API server and the mover's node that agree win over the third.
func TestTwoOfThreeClocksSayWhenASnapshotWasMade(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		manager, server, mover time.Duration // how far each is off
		rebuilt                bool
		want                   time.Duration
	}{
		"all right":                      {want: 50 * time.Minute},
		"the manager ahead":              {manager: 300 * day, want: 50 * time.Minute},
		"the manager behind":             {manager: -40 * day, want: 50 * time.Minute},
		"the node ahead":                 {mover: 300 * day, want: time.Hour},
		"the node behind":                {mover: -300 * day, want: 0},
		"the API server ahead":           {server: 300 * day, want: 50 * time.Minute},
		"the API server behind":          {server: -300 * day, want: 50 * time.Minute},
		"manager ahead, node behind":     {manager: 300 * day, mover: -300 * day, want: time.Minute},
		"manager ahead, node farther":    {manager: 300 * day, mover: 600 * day, want: time.Minute + time.Hour},
		"brought back from an export":    {server: 90 * day, want: 50 * time.Minute},
		"brought back, of a node ahead":  {server: 90 * day, mover: 300 * day, want: time.Hour},
		"brought back, of a node behind": {server: 90 * day, mover: -300 * day, want: 0},
		"made again by a scan":           {server: 90 * day, rebuilt: true, want: 50 * time.Minute},
		"made again, of a manager ahead": {
			manager: 300 * day, server: 90 * day, rebuilt: true, want: 50 * time.Minute,
		},
		"manager and node ahead, as agree": {manager: 300 * day, mover: 300 * day, want: 300*day + 50*time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slot, said := at.Add(tt.manager), &metav1.Time{Time: at.Add(tt.mover + 50*time.Minute)}
			s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
				CreationTimestamp: metav1.NewTime(at.Add(tt.server + time.Minute)),
			}}
			s.Spec.SnapshotID = backup.SnapshotID(slot, "web")
			s.Status.SnapshotTime, s.Status.LastUpdateTime = said, &metav1.Time{Time: slot.Add(time.Hour)}
			s.Status.Components = map[string]v1alpha1.Component{
				"data": {Phase: v1alpha1.SnapshotSucceeded, CompletionTime: said},
			}
			if tt.rebuilt {
				s.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid"}
				s.Status.LastUpdateTime = &s.CreationTimestamp
			}
			NewWithT(t).Expect(retention.TimeOf(s)).To(BeTemporally("==", at.Add(tt.want)))
		})
	}
}

// All clocks were ahead, or those of the manager and a node that share a machine. As long as that time is to come, such
// a Snapshot pushes out no other, and the API server's clock counts where it was right.
func TestASnapshotOfTheFutureTakesNobodysPlace(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		created time.Duration
		goes    bool // the Snapshot of the future
	}{
		"all clocks ahead": {300 * 24 * time.Hour, false}, "manager and node ahead": {-48 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			snapshot := func(name string, created, made time.Duration) v1alpha1.Snapshot {
				s := v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
					Name: name, CreationTimestamp: metav1.NewTime(now.Add(created)),
				}}
				s.Spec.Repository, s.Status.Phase = "web", v1alpha1.SnapshotSucceeded
				s.Status.SnapshotTime = &metav1.Time{Time: now.Add(made)}
				return s
			}
			future := snapshot("future", tt.created, 300*24*time.Hour)
			today := snapshot("today", -time.Hour, -time.Hour)
			p := retention.Policy{Rules: []retention.Rule{{Name: "last", Count: 1}}, Zone: time.UTC}
			for _, v := range p.Decide([]retention.Snapshot{
				retention.FromSnapshot(&future, ""), retention.FromSnapshot(&today, ""),
			}, now) {
				g.Expect(v.Goes()).To(Equal(tt.goes && v.Name == "future"), "%s: %v", v.Name, v.Kept)
			}
			if tt.goes {
				latest, _ := restore.Latest([]v1alpha1.Snapshot{future, today}, "web", restore.Before{}, now)
				g.Expect(latest.Name).To(Equal("today"))
			}
		})
	}
}
