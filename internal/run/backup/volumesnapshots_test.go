package backup_test

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// shot returns a run of one claim whose Job reports that its VolumeSnapshot is ready.
func shot() *fixture {
	t := runtest.Target("disk", "pod-0")
	t.Task.Driver = v1alpha1.DriverVolumeSnapshotter
	t.Hosts[0].Volumes[0] = v1alpha1.ResolvedVolume{
		Component: "pod-0", ClaimName: "data-0",
		Snapshot: &v1alpha1.ResolvedVolumeSnapshot{
			Name: "data-0-1", ClassName: "fast", ContentDeletionPolicy: "Delete",
		},
	}
	f := frozen(t)
	f.snapshots["snap-disk"].UID = "snapshot"
	f.jobs[runtest.Job("disk", "pod-0", 1)] = run.Job{Observation: observe.Observation{
		State: observe.StateSucceeded,
		Result: &task.Result{
			Outcome: task.OutcomeSucceeded, Components: []task.ComponentResult{
				{Name: "pod-0", Outcome: task.OutcomeSucceeded, ID: "vs", SizeBytes: 1 << 30},
			},
		},
	}, Finished: true}
	return f
}

// made returns the VolumeSnapshot that the run of shot should have made.
func made(edit ...func(*backup.ObservedVolumeSnapshot)) backup.MadeSnapshots {
	s := volumesnapshot.New("shop", "data-0-1", "data-0", "fast",
		map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelSnapshot: "snap-disk"},
		map[string]string{v1alpha1.AnnotationSnapshotUID: "snapshot"})
	s.UID = "vs"
	s.Status = &snapshotv1.VolumeSnapshotStatus{
		ReadyToUse: new(true), RestoreSize: new(resource.MustParse("1Gi")),
		BoundVolumeSnapshotContentName: new("content"), CreationTime: &metav1.Time{Time: runtest.Now},
	}
	content := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Name: "content"}}
	content.Spec.VolumeSnapshotRef = corev1.ObjectReference{Namespace: "shop", Name: "data-0-1", UID: "vs"}
	content.Spec.Driver, content.Spec.DeletionPolicy = "disk.example.com", snapshotv1.VolumeSnapshotContentRetain
	content.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: new("snap-17")}
	claim := &corev1.PersistentVolumeClaim{
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("disk"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		},
	}
	m := backup.ObservedVolumeSnapshot{Snapshot: s, Content: content, Claim: claim}
	for _, e := range edit {
		e(&m)
	}
	return backup.MadeSnapshots{types.UID("vs"): m}
}

func (f *fixture) look(found backup.MadeSnapshots) backup.Decision {
	return backup.Next(backup.Input{
		Now: f.at, Session: f.session, Snapshots: f.snapshots, Jobs: f.jobs, VolumeSnapshots: found,
	})
}

func TestAVolumeSnapshotIsLookedAtBeforeItCounts(t *testing.T) {
	g := NewWithT(t)
	f := shot()
	g.Expect(f.look(nil).Look).To(BeTrue(), "the report of the mover is not enough")

	d := f.look(made())
	g.Expect(d.Look).To(BeFalse())
	g.Expect(d.Status.Phase).To(Equal(backupSucceeded))
	c := d.Snapshots["snap-disk"].Components["pod-0"]
	g.Expect(c.Driver).To(Equal(v1alpha1.DriverVolumeSnapshotter))
	g.Expect(c.VolumeSnapshotterStats).To(Equal([]v1alpha1.VolumeSnapshotterStats{{
		PVCName: "data-0", VolumeSnapshotName: "data-0-1", VolumeSnapshotTime: &metav1.Time{Time: runtest.Now},
		VolumeSnapshotClassName:   "fast",
		VolumeSnapshotContentName: "content", SnapshotHandle: "snap-17", Driver: "disk.example.com",
		DeletionPolicy:        "Retain",
		ContentDeletionPolicy: "Delete", RestoreSize: 1 << 30, StorageClassName: "disk",
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		VolumeMode:  corev1.PersistentVolumeFilesystem,
	}}))

	// A verified VolumeSnapshot is not read again.
	f.snapshots["snap-disk"].Status = d.Snapshots["snap-disk"]
	g.Expect(f.look(nil).Look).To(BeFalse())
}

// A VolumeSnapshot that was taken after the frozen pod was replaced is of what nobody froze.
func TestAVolumeSnapshotIsWholeIfItWasTakenBeforeTheFrozenPodWasReplaced(t *testing.T) {
	for name, tc := range map[string]struct {
		taken, asked, replaced time.Duration
		killed                 bool // before the run was written, but not the Snapshot
		partial                bool
	}{
		"taken before":                       {time.Minute, 0, 2 * time.Minute, false, false},
		"taken after":                        {time.Minute, 0, 30 * time.Second, false, true},
		"the clock of the storage is behind": {-time.Hour, 2 * time.Minute, time.Minute, false, true},
		"killed, taken before":               {time.Minute, 0, 2 * time.Minute, true, false},
		"killed, taken after":                {time.Minute, 0, 30 * time.Second, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			f := shot()
			hooked := func(name string, pod v1alpha1.HookPod) []v1alpha1.HookStatus {
				return []v1alpha1.HookStatus{{Name: name, Phase: v1alpha1.HookSucceeded, Pod: &pod}}
			}
			at := func(d time.Duration) metav1.Time { return metav1.NewTime(runtest.Now.Add(d)) }
			f.session.Status.Resolved.Hooks = freezing("app=db", "app=db")
			f.session.Status.Hooks = &v1alpha1.HookStatuses{
				PreHooks: hooked("freeze", v1alpha1.HookPod{Name: "db-0", UID: "1"}),
			}
			d := f.look(made(func(m *backup.ObservedVolumeSnapshot) {
				m.Snapshot.CreationTimestamp, m.Snapshot.Status.CreationTime = at(tc.asked), new(at(tc.taken))
			}))
			f.snapshots["snap-disk"].Status = d.Snapshots["snap-disk"]
			if tc.killed {
				d = f.look(nil)
			}
			f.session.Status = d.Status
			g.Expect(f.session.Status.Targets[0].CopiedAt).NotTo(BeNil())
			f.session.Status.Hooks.PostHooks = hooked("thaw",
				v1alpha1.HookPod{Name: "db-0", UID: "2", Since: new(at(tc.replaced))})
			d = f.look(nil)
			g.Expect(d.Status.Phase).To(Equal(backupSucceeded))
			partial := apimeta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionPartial)
			g.Expect(partial).To(Equal(tc.partial))
		})
	}
}

func TestNoMoverIsBelieved(t *testing.T) {
	for name, tc := range map[string]struct {
		found  backup.MadeSnapshots
		reason string
	}{
		"it does not exist": {backup.MadeSnapshots{}, v1alpha1.ReasonVolumeSnapshotNotFound},
		"it is being deleted": {
			made(func(m *backup.ObservedVolumeSnapshot) {
				m.Snapshot.DeletionTimestamp = &metav1.Time{Time: runtest.Now}
			}),
			v1alpha1.ReasonVolumeSnapshotNotFound,
		},
		"it is of another Snapshot": {made(func(m *backup.ObservedVolumeSnapshot) {
			m.Snapshot.Annotations[v1alpha1.AnnotationSnapshotUID] = "other"
		}), v1alpha1.ReasonVolumeSnapshotNotFound},
		"it belongs to nobody": {
			made(func(m *backup.ObservedVolumeSnapshot) { m.Snapshot.Labels = nil }),
			v1alpha1.ReasonVolumeSnapshotNotFound,
		},
		"it is of another claim": {
			made(func(m *backup.ObservedVolumeSnapshot) {
				m.Snapshot.Spec.Source.PersistentVolumeClaimName = new("data-1")
			}),
			v1alpha1.ReasonVolumeSnapshotNotFound,
		},
		"it is not ready": {
			made(func(m *backup.ObservedVolumeSnapshot) { m.Snapshot.Status.ReadyToUse = new(false) }),
			v1alpha1.ReasonVolumeSnapshotNotReady,
		},
		"it has failed": {made(func(m *backup.ObservedVolumeSnapshot) {
			m.Snapshot.Status.Error = &snapshotv1.VolumeSnapshotError{Message: new("lost")}
		}), v1alpha1.ReasonVolumeSnapshotNotReady},
		"it has no content": {
			made(func(m *backup.ObservedVolumeSnapshot) { m.Content = nil }), v1alpha1.ReasonVolumeSnapshotNotFound,
		},
		"its content belongs to another VolumeSnapshot": {
			made(func(m *backup.ObservedVolumeSnapshot) { m.Content.Spec.VolumeSnapshotRef.UID = "other" }),
			v1alpha1.ReasonVolumeSnapshotNotFound,
		},
		"the storage system has no handle": {
			made(func(m *backup.ObservedVolumeSnapshot) { m.Content.Status = nil }),
			v1alpha1.ReasonVolumeSnapshotNotReady,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := shot().look(tc.found)
			g.Expect(d.Status.Phase).To(Equal(backupFailed))
			g.Expect(d.Status.Reason).To(Equal(tc.reason))
			g.Expect(d.Snapshots["snap-disk"].Components["pod-0"]).To(And(
				HaveField("Phase", v1alpha1.SnapshotFailed), HaveField("VolumeSnapshotterStats", BeEmpty())))
		})
	}
}

// A component that is not reported as succeeded needs no verification, and there are no VolumeSnapshots of files.
func TestOnlyWhatIsSaidToBeAVolumeSnapshotIsLookedAt(t *testing.T) {
	g := NewWithT(t)
	f := shot()
	more := f.session.Status.Resolved.Targets[0].Hosts[0].Volumes[0]
	more.Component, more.ClaimName = "more", "data-1"
	f.session.Status.Resolved.Targets[0].Hosts[0].Volumes = append(
		f.session.Status.Resolved.Targets[0].Hosts[0].Volumes, more)
	f.jobs[runtest.Job("disk", "pod-0", 1)] = runtest.Running()
	f.snapshots["snap-disk"].Status.Components = map[string]v1alpha1.Component{
		"pod-0": {Phase: v1alpha1.SnapshotSucceeded, ID: "vs"}, "more": {Phase: v1alpha1.SnapshotRunning},
	}
	d := f.look(made())
	g.Expect(d.Snapshots["snap-disk"].Components["pod-0"].VolumeSnapshotterStats).To(HaveLen(1))
	g.Expect(d.Snapshots["snap-disk"].Components["more"]).To(
		And(HaveField("Phase", v1alpha1.SnapshotRunning), HaveField("Error", "")))

	files := frozen(runtest.Target("a", "pod-0"))
	files.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
	g.Expect(files.decide().Look).To(BeFalse())
}

func TestAHostPathHasNoVolumeSnapshot(t *testing.T) {
	hosts := []v1alpha1.ResolvedHost{
		{Name: "node-a", Volumes: []v1alpha1.ResolvedVolume{{Component: "node-a", HostPath: "/var/lib/agent"}}},
	}
	refusal := backup.PlanVolumeSnapshots(hosts, backup.VolumeSnapshotInput{Created: runtest.Now})
	NewWithT(t).Expect(refusal).To(And(HaveField("Reason", v1alpha1.ReasonNoVolumes),
		HaveField("Message", ContainSubstring("component node-a"))))
}

// Each run makes its own VolumeSnapshots, even a retry of frozen targets.
func TestARetryNamesItsOwnVolumeSnapshots(t *testing.T) {
	g := NewWithT(t)
	f := shot()
	f.session.Status = f.look(backup.MadeSnapshots{}).Status
	g.Expect(f.session.Status.Phase).To(Equal(backupFailed))
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Name: "run-r1", CreationTimestamp: metav1.NewTime(runtest.Now)},
	}
	start := &backup.Start{Policy: v1alpha1.ResolvedPolicy{Digest: "sha256:other"}}
	start.Again(s, f.session, nil)
	g.Expect(start.Targets[0].Resolved.Hosts[0].Volumes[0].Snapshot.Name).To(
		Equal(policy.VolumeSnapshotName("data-0", runtest.Now)))
	g.Expect(f.session.Status.Resolved.Targets[0].Hosts[0].Volumes[0].Snapshot.Name).To(
		Equal("data-0-1"), "frozen targets must not change")
}

func TestAJobThatSaysNothingIsRepeated(t *testing.T) {
	g := NewWithT(t)
	f := shot()
	f.jobs[runtest.Job("disk", "pod-0", 1)] = runtest.Died(v1alpha1.ReasonJobFailed, true)
	d := f.look(nil)
	g.Expect(d.Create).To(HaveLen(1))
	g.Expect(d.Create[0].Attempt).To(Equal(2))
}
