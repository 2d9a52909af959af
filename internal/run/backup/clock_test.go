package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// A mover takes its times from the clock of its node. Times that decide come from the manager's clock.
func TestAWrongNodeClockDoesNotMoveASnapshot(t *testing.T) {
	const year = 365 * 24 * time.Hour
	now := runtest.Now.Add(time.Minute) // when decide looks
	for name, tt := range map[string]struct {
		off    time.Duration
		want   time.Duration
		skewed bool
	}{
		"a year ahead":            {year, 0, true},
		"a year behind":           {-year, -time.Minute, true},
		"a little ahead":          {2 * time.Second, 0, false},
		"between start and now":   {-30 * time.Second, -30 * time.Second, false},
		"a little before the run": {-62 * time.Second, -time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "target"))
			start := metav1.NewTime(runtest.Now)
			f.session.Status.StartTime = &start
			result := runtest.Succeeded("target")
			said := metav1.NewTime(now.Add(tt.off))
			result.Result.Components[0].CompletionTime = &said
			f.jobs = map[string]run.Job{runtest.Job("a", "target", 1): result}
			status := f.decide().Snapshots["snap-a"]
			g.Expect(status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
			g.Expect(status.SnapshotTime.Time).To(BeTemporally("==", now.Add(tt.want)))
			g.Expect(apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionClockSkewed)).
				To(Equal(tt.skewed))
			g.Expect(status.Components["target"].CompletionTime.Time).To(BeTemporally("==", said.Time),
				"what the mover said stays visible")
		})
	}
}
