package backup_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

func TestAWholeRun(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "pod-0", "pod-1"))
	g.Expect(f.step().Create).To(HaveLen(2))
	g.Expect(f.step().Create).To(BeEmpty())
	g.Expect(f.component("a", "pod-0").Phase).To(Equal(v1alpha1.SnapshotPending))
	g.Expect(f.snapshots["snap-a"].Status.TotalComponents).To(BeEquivalentTo(2))
	g.Expect(conditions.GetMessage(f.snapshots["snap-a"], meta.ReadyCondition)).To(Equal("no mover has begun"))

	f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
	f.step()
	g.Expect(f.component("a", "pod-0").ID).To(Equal("kpod-0"))
	g.Expect(f.component("a", "pod-0").Path).To(
		Equal("sub"), "the path must come from the policy, even if the message had no room for it")
	g.Expect(f.snapshots["snap-a"].Status.Phase).To(Equal(v1alpha1.SnapshotRunning))
	g.Expect(conditions.GetMessage(f.snapshots["snap-a"], meta.ReadyCondition)).To(Equal("the backup runs"))

	f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Died(v1alpha1.ReasonJobFailed, true)
	f.step()
	g.Expect(run.ParseMovers(f.snapshots["snap-a"].Annotations[v1alpha1.AnnotationMovers])["pod-1"]).To(
		Equal(runtest.Job("a", "pod-1", 2)),
		"only the second mover is allowed to write now")
	g.Expect(f.step().Create).To(BeEmpty(), "there must be only one second attempt")

	f.jobs[runtest.Job("a", "pod-1", 2)] = runtest.Succeeded("pod-1")
	d := f.step()
	snap := f.snapshots["snap-a"]
	g.Expect(snap.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(snap.Status.Size).To(Equal("6.000 MiB"))
	g.Expect(snap.Status.SnapshotTime).NotTo(BeNil())
	g.Expect(conditions.IsTrue(snap, meta.ReadyCondition)).To(BeTrue())
	g.Expect(d.Status.Phase).To(Equal(backupSucceeded))
	g.Expect(d.Status.Duration).To(Equal("1m0s"))
	g.Expect(d.Status.Targets[0].Size).To(Equal("6.000 MiB"))
	g.Expect(conditions.IsTrue(f.session, meta.ReadyCondition)).To(BeTrue())
	g.Expect(conditions.Has(f.session, meta.ReconcilingCondition)).To(BeFalse())
}

func TestAMoverThatIsGivenUpMayNotWriteAnyMore(t *testing.T) {
	for _, reason := range []string{
		v1alpha1.ReasonUnschedulable,
		v1alpha1.ReasonOutOfMemory, // The proxy of a mesh runs on in its pod.
	} {
		t.Run(reason, func(t *testing.T) {
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "pod-0", "pod-1"))
			f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
			f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Died(reason, false)
			d := f.step()
			g.Expect(d.Movers["snap-a"]).To(Equal("pod-0=" + runtest.Job("a", "pod-0", 1)))
			g.Expect(d.Delete).To(Equal([]string{runtest.Job("a", "pod-1", 1)}))

			// If the manager is killed before the deletion, the next look asks for it again.
			f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Died(reason, false)
			g.Expect(f.decide().Delete).To(Equal([]string{runtest.Job("a", "pod-1", 1)}))
		})
	}
}

func TestProgressCallsForNoWrite(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "pod-0"))
	f.step()
	f.step()
	f.snapshots["snap-a"].Status.Components["pod-0"] = v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
	f.step()
	f.snapshots["snap-a"].Status.Components["pod-0"] = v1alpha1.Component{
		Phase: v1alpha1.SnapshotRunning, Progress: &v1alpha1.ComponentProgress{BytesDone: 5},
	}
	f.at = f.at.Add(10 * time.Second)
	d := f.decide()
	g.Expect(d.Status).To(Equal(f.session.Status))
	g.Expect(d.Snapshots["snap-a"]).To(Equal(f.snapshots["snap-a"].Status))
}

func TestAHostOfSeveralVolumes(t *testing.T) {
	g := NewWithT(t)
	several := runtest.Target("a", "target")
	several.Hosts[0].Volumes = []v1alpha1.ResolvedVolume{{Component: "data"}, {Component: "wal"}}
	f := frozen(several)
	early, late := metav1.NewTime(runtest.Now.Add(time.Second)), metav1.NewTime(runtest.Now.Add(2*time.Second))
	f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{
		"data": {Phase: v1alpha1.SnapshotSucceeded, ID: "own", CompletionTime: &late},
	}

	t.Run("what one volume's status says survives the failure of the other", func(t *testing.T) {
		g := NewWithT(t)
		f.jobs = map[string]run.Job{runtest.Job("a", "target", 1): runtest.Died(v1alpha1.ReasonInvalidTask, true)}
		components := f.decide().Snapshots["snap-a"].Components
		g.Expect(components["data"].Phase).To(Equal(v1alpha1.SnapshotSucceeded))
		g.Expect(components["wal"].Phase).To(Equal(v1alpha1.SnapshotFailed))
	})
	f.jobs = map[string]run.Job{runtest.Job("a", "target", 1): runtest.Succeeded("data", "wal")}
	f.jobs[runtest.Job("a", "target", 1)].Result.Components[1].CompletionTime = &early
	status := f.decide().Snapshots["snap-a"]
	g.Expect(status.Components["data"].ID).To(Equal("own"), "the first report counts")
	g.Expect(status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(status.SnapshotTime.Time).To(Equal(late.Time), "when the last component was complete")
}

func TestALateWordChangesNoEndedSnapshot(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "pod-0"), runtest.Target("b", "pod-0"))
	f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonImagePullFailed, false)
	f.step()
	g.Expect(f.snapshots["snap-a"].Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
	f.snapshots["snap-a"].Status.Components["pod-0"] = v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
	d := f.decide()
	g.Expect(d.Snapshots).NotTo(HaveKey("snap-a"))
	g.Expect(d.Create).To(BeEmpty())
	g.Expect(d.Verify).To(BeFalse(), "nothing is left to give up")
	g.Expect(d.Status.Targets[0].Phase).To(Equal(backupFailed))
}

func TestASuccessThatNamesNoDataIsNone(t *testing.T) {
	for name, claim := range map[string]func(f *fixture){
		"in the status": func(f *fixture) {
			f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{
				"pod-0": {Phase: v1alpha1.SnapshotSucceeded},
			}
		},
		"in the termination message": func(f *fixture) {
			f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
			f.jobs[runtest.Job("a", "pod-0", 1)].Result.Components[0].ID = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := frozen(runtest.Target("a", "pod-0"))
			claim(f)
			d := f.decide()
			g.Expect(d.Snapshots["snap-a"].Phase).To(Equal(v1alpha1.SnapshotFailed))
			g.Expect(d.Status.Phase).To(Equal(backupFailed))
		})
	}
}

// A sidecar writes the components by itself.
func TestAComponentThatFailsWithTheReasonOfASuccessFails(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "pod-0"))
	f.snapshots["snap-a"].Status.Components = map[string]v1alpha1.Component{
		"pod-0": {Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonSucceeded},
	}
	d := f.decide()
	g.Expect(d.Snapshots["snap-a"].Phase).To(Equal(v1alpha1.SnapshotFailed))
	g.Expect(d.Status.Phase).To(Equal(backupFailed))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonFailed))
}

func TestATargetWithoutVolumesIsNoSuccess(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a"))
	d := f.decide()
	g.Expect(d.Snapshots["snap-a"].Phase).To(Equal(v1alpha1.SnapshotFailed))
	g.Expect(d.Status.Phase).To(Equal(backupFailed))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonNoVolumes))
}

func TestADeadlineThatPassesBeforeTheFirstSnapshotIsSaid(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "pod-0"))
	clear(f.snapshots)
	f.at = f.session.Status.BackupDeadline.Time
	d := f.decide()
	g.Expect(d.Status.Phase).To(Equal(backupFailed))
	g.Expect(d.Status.Targets).To(HaveExactElements(And(
		HaveField("Reason", v1alpha1.ReasonDeadlineExceeded),
		HaveField("Message", "the deadline of the run passed before it began"))))
}

func TestATargetSaysThatItsJobIsSuspended(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "target"))
	f.step()
	f.step()
	g.Expect(f.jobs).To(HaveLen(1))
	for name := range f.jobs {
		f.jobs[name] = run.Job{Observation: observe.Observation{
			State: observe.StateWaiting, Reason: v1alpha1.ReasonSuspended, Message: "Job j is suspended",
		}}
	}
	f.step()
	g.Expect(f.session.Status.Targets[0]).To(And(HaveField("Phase", backupRunning),
		HaveField("Reason", v1alpha1.ReasonSuspended), HaveField("Message", "Job j is suspended")))
	for name := range f.jobs {
		f.jobs[name] = run.Job{Observation: observe.Observation{State: observe.StateRunning}}
	}
	f.step()
	g.Expect(f.session.Status.Targets[0]).To(And(HaveField("Reason", v1alpha1.ReasonRunning),
		HaveField("Message", "")))
}

// Nobody waits five minutes to learn that a workload without pods has no sidecar.
func TestATargetSaysThatItHasNoSidecar(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "target"))
	f.step()
	f.step()
	name := runtest.Job("a", "target", 1)
	f.jobs[name] = run.Job{Sidecar: true, Observation: observe.NoSidecar(f.at, "Deployment/web has no pods", f.at)}
	f.step()
	g.Expect(f.session.Status.Targets[0]).To(And(HaveField("Phase", backupRunning),
		HaveField("Reason", v1alpha1.ReasonSidecarNotReady), HaveField("Message", "Deployment/web has no pods")))
	f.jobs[name] = run.Job{Sidecar: true, Observation: observe.Observation{State: observe.StateRunning}}
	f.step()
	g.Expect(f.session.Status.Targets[0]).To(And(HaveField("Reason", v1alpha1.ReasonRunning),
		HaveField("Message", "")))
}

// The applications of a target can be frozen while its Job waits for that of another run.
func TestATargetSaysThatItsJobWaitsForAnother(t *testing.T) {
	g := NewWithT(t)
	f := frozen(runtest.Target("a", "pod-0", "pod-1"))
	f.step()
	f.step()
	queued := run.Job{Queues: true, Observation: observe.Observation{
		State: observe.StateWaiting, Reason: v1alpha1.ReasonUnschedulable, Message: "Job j waits for Job k",
	}}
	f.jobs[runtest.Job("a", "pod-0", 1)] = queued
	f.step()
	g.Expect(f.session.Status.Targets[0]).To(And(HaveField("Phase", backupRunning),
		HaveField("Reason", v1alpha1.ReasonUnschedulable), HaveField("Message", "Job j waits for Job k")))
	suspended := run.Job{Observation: observe.Observation{
		State: observe.StateWaiting, Reason: v1alpha1.ReasonSuspended, Message: "Job j is suspended",
	}}
	for _, hosts := range [][]string{{"pod-0", "pod-1"}, {"pod-1", "pod-0"}} {
		f.jobs[runtest.Job("a", hosts[0], 1)], f.jobs[runtest.Job("a", hosts[1], 1)] = suspended, queued
		f.step()
		g.Expect(f.session.Status.Targets[0].Message).To(Equal("Job j is suspended"), "somebody has to end that")
	}
	f.jobs[runtest.Job("a", "pod-0", 1)] = run.Job{Observation: observe.Observation{State: observe.StateRunning}}
	f.jobs[runtest.Job("a", "pod-1", 1)] = f.jobs[runtest.Job("a", "pod-0", 1)]
	d := f.step()
	g.Expect(f.session.Status.Targets[0]).To(And(HaveField("Reason", v1alpha1.ReasonRunning),
		HaveField("Message", "")))

	d.SayWaits("a", v1alpha1.ReasonVolumeInUse, "first")
	d.SayWaits("a", v1alpha1.ReasonUnschedulable, "second")
	g.Expect(d.Status.Targets[0]).To(And(HaveField("Reason", v1alpha1.ReasonVolumeInUse),
		HaveField("Message", "first")))
}
