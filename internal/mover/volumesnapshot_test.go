package mover_test

import (
	"context"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// shooting is a mover that makes VolumeSnapshots. The test plays the CSI driver.
type shooting struct {
	*objectMaker
	snap *v1alpha1.Snapshot
}

func newShooting(t testing.TB, claims ...string) *shooting {
	t.Helper()
	ns := namespace(t)
	var movers []string
	for _, c := range claims {
		movers = append(movers, c+"=backup-s-target")
	}
	snap := snapshot(t, ns, "s", strings.Join(movers, ","))
	work := task.Task{
		Kind: task.KindVolumeSnapshot,
		Snapshot: &task.Snapshot{
			Name: snap.Name, UID: snap.UID, Labels: map[string]string{v1alpha1.LabelRepository: "r"},
			Spec: &snap.Spec,
		},
	}
	at := time.Unix(1795154820, 0)
	for _, c := range claims {
		work.Components = append(work.Components, task.Component{Name: c, Snapshot: &task.VolumeSnapshot{
			Names: []string{policy.VolumeSnapshotName(c, at), policy.QualifiedVolumeSnapshotName(c, at, ns, "s")},
			Claim: c,
			Class: "fast",
		}})
	}
	return &shooting{objectMaker: newObjectMaker(t, ns, "backup-s-target", work), snap: snap}
}

// driver answers for a VolumeSnapshot as soon as it exists.
func (s *shooting) driver(name string, status snapshotv1.VolumeSnapshotStatus) {
	s.Helper()
	meanwhile(s.objectMaker, name, func(ctx context.Context, found *snapshotv1.VolumeSnapshot) error {
		found.Status = status.DeepCopy()
		return bed.Client.Status().Update(ctx, found)
	})
}

func ready(size string) snapshotv1.VolumeSnapshotStatus {
	return snapshotv1.VolumeSnapshotStatus{
		ReadyToUse: new(true), RestoreSize: new(resource.MustParse(size)),
		BoundVolumeSnapshotContentName: new("content"),
	}
}

func (s *shooting) volumeSnapshot(name string) *snapshotv1.VolumeSnapshot {
	s.Helper()
	found := &snapshotv1.VolumeSnapshot{}
	s.Expect(bed.Client.Get(context.Background(), client.ObjectKey{Namespace: s.namespace, Name: name}, found)).
		To(Succeed())
	return found
}

func (s *shooting) component(name string) v1alpha1.Component {
	s.Helper()
	var found v1alpha1.Snapshot
	s.Expect(bed.Client.Get(context.Background(), client.ObjectKeyFromObject(s.snap), &found)).To(Succeed())
	return found.Status.Components[name]
}

func TestVolumeSnapshotsAreMadeTogetherAndAwaited(t *testing.T) {
	s := newShooting(t, "data", "logs")
	s.driver("data-1795154820", ready("1Gi"))
	s.driver("logs-1795154820", ready("2Gi"))
	result := s.run(t.Context(), time.Minute)
	s.Expect(result.Outcome).To(Equal(task.OutcomeSucceeded), result.Message)
	s.Expect(result.Components).To(HaveLen(2))
	made := s.volumeSnapshot("data-1795154820")
	s.Expect(*made.Spec.Source.PersistentVolumeClaimName).To(Equal("data"))
	s.Expect(*made.Spec.VolumeSnapshotClassName).To(Equal("fast"))
	s.Expect(made.OwnerReferences).To(BeEmpty(), "it outlives everything")
	s.Expect(volumesnapshot.MadeBySnapshotJob(made, "s", s.snap.UID)).To(BeTrue())
	s.Expect(made.Labels).To(HaveKeyWithValue(v1alpha1.LabelRepository, "r"))
	s.Expect(result.Components[0].ID).To(Equal(string(made.UID)))
	s.Expect(result.Components[0].SizeBytes).To(Equal(int64(1 << 30)))
	s.Expect(s.component("logs")).To(And(
		HaveField("Phase", v1alpha1.SnapshotSucceeded), HaveField("Driver", v1alpha1.DriverVolumeSnapshotter),
		HaveField("SizeBytes", int64(2<<30))))
}

// Another mover follows a mover that was killed before it reported.
func TestAnotherMoverFindsItsVolumeSnapshots(t *testing.T) {
	s := newShooting(t, "data")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	result := s.run(ctx, time.Minute)
	s.Expect(result.Components[0].Reason).To(Equal(v1alpha1.ReasonCancelled))
	s.Expect(s.component("data").Phase.Terminal()).To(BeFalse(), "another one goes on with it")
	first := s.volumeSnapshot("data-1795154820")

	s.driver("data-1795154820", ready("1Gi"))
	result = s.run(t.Context(), time.Minute)
	s.Expect(result.Outcome).To(Equal(task.OutcomeSucceeded), result.Message)
	s.Expect(result.Components[0].ID).To(Equal(string(first.UID)))
	var all snapshotv1.VolumeSnapshotList
	s.Expect(bed.Client.List(t.Context(), &all, client.InNamespace(s.namespace))).To(Succeed())
	s.Expect(all.Items).To(HaveLen(1))
}

func TestVolumeSnapshotsOfOthersAreLeftAlone(t *testing.T) {
	s := newShooting(t, "data")
	foreign := volumesnapshot.New(s.namespace, "data-1795154820", "data", "fast", nil, nil)
	s.Expect(bed.Client.Create(t.Context(), foreign)).To(Succeed())
	other := s.task.Components[0].Snapshot.Names[1]
	s.Expect(other).To(MatchRegexp(`^data-[0-9a-f]{8}-1795154820$`))
	s.driver(other, ready("1Gi"))
	result := s.run(t.Context(), time.Minute)
	s.Expect(result.Outcome).To(Equal(task.OutcomeSucceeded), result.Message)
	s.Expect(result.Components[0].ID).To(Equal(string(s.volumeSnapshot(other).UID)))
	s.Expect(s.volumeSnapshot(foreign.Name).UID).To(Equal(foreign.UID))
}

func TestBothNamesOfAVolumeSnapshotAreTaken(t *testing.T) {
	s := newShooting(t, "data")
	for _, name := range s.task.Components[0].Snapshot.Names {
		s.Expect(bed.Client.Create(t.Context(), volumesnapshot.New(s.namespace, name, "data", "fast", nil, nil))).
			To(Succeed())
	}
	s.Expect(s.run(t.Context(), time.Minute).Components[0]).
		To(And(HaveField("Reason", v1alpha1.ReasonNameConflict), HaveField("ID", "")))
}

func TestAVolumeSnapshotThatIsNeverReady(t *testing.T) {
	s := newShooting(t, "data", "logs")
	s.driver("logs-1795154820", ready("1Gi"))
	result := s.run(t.Context(), 8*time.Second)
	s.Expect(result.Outcome).To(Equal(task.OutcomeFailed))
	s.Expect(result.Components[0]).
		To(
			And(HaveField("Reason", v1alpha1.ReasonVolumeSnapshotNotReady),
				HaveField("Error", ContainSubstring("waitTimeout"))))
	s.Expect(result.Components[1].Outcome).To(Equal(task.OutcomeSucceeded), "one that fails does not fail the others")
	s.Expect(s.component("data").Phase).To(Equal(v1alpha1.SnapshotFailed))
}

func TestWhatTheDriverSaysIsTheError(t *testing.T) {
	status := snapshotv1.VolumeSnapshotStatus{
		ReadyToUse: new(false),
		Error:      &snapshotv1.VolumeSnapshotError{Message: new("the array is full")},
	}
	t.Run("it lasts for a minute", func(t *testing.T) {
		s := newShooting(t, "data")
		began, looks := time.Now(), 0
		s.pod.mover.Now = func() time.Time { // each look at the clock is 20 seconds later
			looks++
			return began.Add(time.Duration(looks) * 20 * time.Second)
		}
		s.driver("data-1795154820", status)
		s.Expect(s.run(t.Context(), time.Hour).Components[0]).To(And(
			HaveField("Reason", v1alpha1.ReasonVolumeSnapshotFailed),
			HaveField("Error", Equal("VolumeSnapshot data-1795154820: the array is full"))))
	})
	t.Run("it is there when the time is over", func(t *testing.T) {
		s := newShooting(t, "data")
		s.driver("data-1795154820", status)
		s.Expect(s.run(t.Context(), 8*time.Second).Components[0]).To(And(
			HaveField("Reason", v1alpha1.ReasonVolumeSnapshotFailed),
			HaveField("Error", ContainSubstring("the array is full"))))
	})
}

func TestAVolumeSnapshotThatSomebodyDeletes(t *testing.T) {
	s := newShooting(t, "data")
	meanwhile(s.objectMaker, "data-1795154820", func(ctx context.Context, found *snapshotv1.VolumeSnapshot) error {
		return bed.Client.Delete(ctx, found)
	})
	s.Expect(s.run(t.Context(), time.Minute).Components[0].Reason).To(Equal(v1alpha1.ReasonVolumeSnapshotNotFound))
}

// Movers are allowed to make only VolumeSnapshots that are marked as their Job's own.
func TestTheAdmissionPolicyOfSnapshotters(t *testing.T) {
	ns := namespace(t)
	api := as(t, ns, v1alpha1.SnapshotterServiceAccount, "backup-s-target-abcde").
		Resource(snapshotv1.SchemeGroupVersion.WithResource(volumesnapshot.Resource))
	for name, tc := range map[string]struct {
		change  func(*snapshotv1.VolumeSnapshot)
		refusal string
	}{
		"its own": {change: func(*snapshotv1.VolumeSnapshot) {}},
		"of another Job": {
			func(s *snapshotv1.VolumeSnapshot) { s.Annotations[v1alpha1.AnnotationJob] = "backup-s" },
			"must name the Job",
		},
		"of no Job":      {func(s *snapshotv1.VolumeSnapshot) { s.Annotations = nil }, "must name the Job"},
		"not as Cairn's": {func(s *snapshotv1.VolumeSnapshot) { s.Labels = nil }, "must be cairn"},
		"with a finalizer": {
			func(s *snapshotv1.VolumeSnapshot) { s.Finalizers = []string{"example.com/hold"} },
			"neither finalizers",
		},
		"of a content": {func(s *snapshotv1.VolumeSnapshot) {
			s.Spec.Source = snapshotv1.VolumeSnapshotSource{VolumeSnapshotContentName: new("c")}
		}, "not of a VolumeSnapshotContent"},
		"in another namespace": {func(s *snapshotv1.VolumeSnapshot) { s.Namespace = "default" }, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			s := volumesnapshot.New(ns,
				"s-"+strings.ToLower(strings.NewReplacer(" ", "-", "'", "").Replace(name)), "data",
				"fast",
				map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
				map[string]string{v1alpha1.AnnotationJob: "backup-s-target"})
			tc.change(s)
			admitted(t, api, s, tc.refusal)
		})
	}
}
