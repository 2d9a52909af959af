package restoresession

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// One session backs up everything, and another one a directory. Or one night the StatefulSet had fewer pods.
func TestLatestTellsWhatItLacks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		newer []func(*world) *v1alpha1.Snapshot
		says  string
	}{
		"another session": {[]func(*world) *v1alpha1.Snapshot{func(w *world) *v1alpha1.Snapshot {
			s := w.newSnapshot("hour", v1alpha1.SnapshotSucceeded, 4, "pvc")
			s.Spec.Session = "hourly"
			c := s.Status.Components["pvc"]
			c.Path = "uploads"
			s.Status.Components["pvc"] = c
			return s
		}}, `Snapshot hour holds less than Snapshot second of session nightly, which has more of component pvc ` +
			`than directory "uploads"`},
		"one night": {[]func(*world) *v1alpha1.Snapshot{
			func(w *world) *v1alpha1.Snapshot {
				return w.newSnapshot("all", v1alpha1.SnapshotSucceeded, 5, "pod-0", "pod-1", "pod-2")
			},
			func(w *world) *v1alpha1.Snapshot { return w.newSnapshot("one", v1alpha1.SnapshotSucceeded, 6, "pod-0") },
		}, "Snapshot one holds less than Snapshot all of session nightly, which has component pod-1, component pod-2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, s := range tt.newer {
				sessiontest.Create(t, w.Client, s(w))
			}
			w.restore("restore")
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
			w.Expect(conditions.IsTrue(s, v1alpha1.ConditionPartial)).To(BeTrue())
			w.Expect(conditions.GetMessage(s, v1alpha1.ConditionPartial)).To(And(
				ContainSubstring(tt.says), ContainSubstring("dataSource.snapshot")))
		})
	}
}
