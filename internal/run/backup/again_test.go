package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

func TestWhichMoversFindTheirNodeAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		attempt int
		// waited is for how long the target had to wait for its turn.
		waited time.Duration
		edit   func(*v1alpha1.ResolvedTarget)
		want   bool
	}{
		"the first attempt of a run that has just begun": {attempt: 1},
		"the first attempt of a target that began later": {attempt: 1, waited: time.Hour, want: true},
		"the second attempt":                             {attempt: 2, want: true},
		"a DaemonSet, whose node says which data it is": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			t.AppRef.Kind = v1alpha1.KindDaemonSet
		}},
		"a host path": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			logs := v1alpha1.ResolvedVolume{Component: "logs", HostPath: "/logs"}
			t.Hosts[0].Volumes = append(t.Hosts[0].Volumes, logs)
		}},
		"copies": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			t.Copies = []v1alpha1.ResolvedCopy{{ClaimName: "target"}}
		}},
		"VolumeSnapshots": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			t.Task.Driver = v1alpha1.DriverVolumeSnapshotter
		}},
		"a sidecar": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) { t.Executor = v1alpha1.ExecutorSidecar }},
	} {
		t.Run(name, func(t *testing.T) {
			target := runtest.Target("a", "target")
			if tt.edit != nil {
				tt.edit(&target)
			}
			s := frozen(target).session
			s.Status.Targets[0].StartTime = new(metav1.NewTime(s.Status.StartTime.Add(tt.waited)))
			m := backup.Mover{Attempt: tt.attempt, Target: &target, Host: &target.Hosts[0]}
			NewWithT(t).Expect(m.FindsNodeAgain(s)).To(Equal(tt.want))
		})
	}
}

// A first mover can have worked for hours, and nothing else that is written tells when it ended: its Job can be gone.
func TestALaterMoverWaitsForPodsForABoundedTime(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "target"))
	left := func() time.Duration { return backup.WaitsPerPod(f.snapshots["snap-a"], f.at) }
	f.step()
	g.Expect(left()).To(Equal(run.WaitForNode), "the target's turn has just come")
	f.jobs[runtest.Job("a", "target", 1)] = runtest.Running()
	f.at = f.at.Add(30 * time.Minute)
	f.step()
	g.Expect(left()).To(BeZero())
	f.jobs[runtest.Job("a", "target", 1)] = runtest.Died(v1alpha1.ReasonPodDeleted, false)
	g.Expect(f.step().Create).To(HaveLen(1))
	g.Expect(left()).To(Equal(run.WaitForNode), "the first mover has just ended")
	for range 2 { // the Job waits, and is not made
		delete(f.jobs, runtest.Job("a", "target", 2))
		f.at = f.at.Add(4 * time.Minute)
		g.Expect(f.step().Create).To(HaveLen(1))
		g.Expect(left()).To(Equal(run.WaitForNode))
	}
	f.at = f.at.Add(time.Minute)
	g.Expect(left()).To(BeZero())
	f.at = f.at.Add(-time.Hour)
	g.Expect(left()).To(BeZero(), "a clock that was ahead has come back")
}
