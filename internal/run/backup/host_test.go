package backup_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// A sidecar that does not begin its work is given up. What the first attempt has begun says nothing about the second.
func TestTheSecondAttemptOfASidecarHasNotBegun(t *testing.T) {
	t.Parallel()
	working := v1alpha1.Component{
		Phase: v1alpha1.SnapshotRunning, Progress: &v1alpha1.ComponentProgress{BytesDone: 5},
	}
	again := v1alpha1.Component{Phase: v1alpha1.SnapshotPending, Path: "sub", Driver: v1alpha1.DriverKopia}
	second := runtest.Job("a", "pod-0", 2)
	for name, tt := range map[string]struct {
		executor v1alpha1.Executor
		there    func(f *fixture)
		want     v1alpha1.Component
	}{
		"the pod of the first is gone": {
			executor: v1alpha1.ExecutorSidecar, want: again,
			there: func(f *fixture) {
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonPodDeleted, true)
			},
		},
		"the manager was killed before it assigned the second": {
			executor: v1alpha1.ExecutorSidecar, want: again,
			there: func(f *fixture) {
				f.snapshots["snap-a"].Annotations[v1alpha1.AnnotationMovers] = run.FormatMovers(
					map[string]string{"pod-0": second})
			},
		},
		"it has begun": {
			executor: v1alpha1.ExecutorSidecar, want: working,
			there: func(f *fixture) { f.jobs[second] = runtest.Running() },
		},
		"a Job has other limits": {
			want: working,
			there: func(f *fixture) {
				f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonPodDeleted, true)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			target := runtest.Target("a", "pod-0", "pod-1")
			target.Executor = tt.executor
			f := frozen(target)
			f.step()
			done := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "k"}
			f.snapshots["snap-a"].Status.Phase = v1alpha1.SnapshotRunning
			f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{"pod-0": working, "pod-1": done}
			clear(f.jobs)
			tt.there(f)
			f.step()
			g.Expect(f.jobs).To(HaveKey(second))
			g.Expect(f.component("a", "pod-0")).To(Equal(tt.want))
			g.Expect(f.component("a", "pod-1")).To(Equal(done))
		})
	}
	t.Run("the Snapshot has", func(t *testing.T) {
		t.Parallel()
		g, target := NewWithT(t), runtest.Target("a", "pod-0")
		target.Executor = v1alpha1.ExecutorSidecar
		f := frozen(target)
		f.step()
		f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{"pod-0": working}
		f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
		f.step()
		f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonPodDeleted, true)
		f.step()
		g.Expect(f.component("a", "pod-0")).To(Equal(again))
		g.Expect(f.snapshots["snap-a"].Status.Phase).To(Equal(v1alpha1.SnapshotRunning), "it does not go back")
	})
}
