package mover

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/task"
)

// A Snapshot of a workload with 1,000 pods takes ten reports of progress a second, not a hundred.
func TestManyMoversOfASnapshotReportRarely(t *testing.T) {
	t.Parallel()
	for components, want := range map[int32]time.Duration{
		0: 10 * time.Second, 1: 10 * time.Second, 100: 10 * time.Second, 1000: 100 * time.Second,
	} {
		b := &backup{t: task.Task{Snapshot: &task.Snapshot{Components: components}}}
		NewWithT(t).Expect(b.progressEvery()).To(Equal(want), "%d components", components)
	}
}
