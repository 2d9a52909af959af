package repository

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// ofSnapshots creates a Repository of VolumeSnapshots in a namespace of its own.
func ofSnapshots(t testing.TB) *v1alpha1.Repository {
	t.Helper()
	r := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: bed.Namespace(t, nil), Name: "web"},
		Spec: v1alpha1.RepositorySpec{
			AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			Driver: v1alpha1.DriverVolumeSnapshotter,
		},
	}
	bed.Create(t, r)
	return r
}

// madeSnapshot creates a successful Snapshot of one VolumeSnapshot of a class with a deletionPolicy.
func madeSnapshot(t testing.TB, r *v1alpha1.Repository, name, deletionPolicy string) *v1alpha1.Snapshot {
	t.Helper()
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: name, Repository: r.Name, Session: "hourly", BackupSession: "run", Version: "v1",
			AppRef: r.Spec.AppRef,
		},
	}
	bed.Create(t, s)
	bed.EditStatus(t, s, func() {
		s.Status.Phase, s.Status.Size, s.Status.SnapshotTime = v1alpha1.SnapshotSucceeded, "1 GiB",
			new(metav1.NewTime(now.Now()))
		s.Status.Components = map[string]v1alpha1.Component{"pvc": {
			Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverVolumeSnapshotter, ID: "uid",
			VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{
				PVCName: "web", VolumeSnapshotName: "web-1", VolumeSnapshotClassName: "fast",
				DeletionPolicy: deletionPolicy,
			}},
		}}
	})
	return s
}

func TestARepositoryOfVolumeSnapshotsIsReadyAtOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := ofSnapshots(t)
	expect(t, r, v1alpha1.ReasonReady)
	g.Expect(conditions.IsTrue(r, v1alpha1.ConditionRepositoryInitialized)).To(BeTrue())
	g.Expect(r.Finalizers).To(ContainElement(v1alpha1.FinalizerWipe))
	other := ofSnapshots(t)
	expect(t, other, v1alpha1.ReasonReady)

	s := madeSnapshot(t, r, "web-1", "Retain")
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(r.Status.SnapshotCount).To(HaveValue(BeEquivalentTo(1)))
		g.Expect(r.Status.Size).To(Equal("1 GiB"))
		g.Expect(r.Status.RecentSnapshots).To(ConsistOf(HaveField("Name", s.Name)))
		g.Expect(conditions.Has(r, v1alpha1.ConditionVolumeSnapshotsAtRisk)).To(BeFalse())
	}, "its Snapshots are counted")

	var jobs batchv1.JobList
	g.Expect(bed.Client.List(t.Context(), &jobs, client.InNamespace(r.Namespace))).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty(), "a Repository of VolumeSnapshots needs no init Job")
	writes := bed.Quiet(t, r.Namespace)
	bed.Edit(t, r, func() { r.Labels = map[string]string{"touched": "x"} })
	bed.StaysQuiet(t, r.Namespace, writes, "no change, no write")
}

func TestARepositorySaysThatItsVolumeSnapshotsAreEasilyLost(t *testing.T) {
	t.Parallel()
	r := ofSnapshots(t)
	madeSnapshot(t, r, "web-1", "Delete")
	told := func() int {
		n := 0
		for _, e := range events.Of(r.Namespace) {
			if strings.Contains(e, v1alpha1.ReasonVolumeSnapshotClassDeletes) {
				n++
			}
		}
		return n
	}
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(conditions.IsTrue(r, v1alpha1.ConditionVolumeSnapshotsAtRisk)).To(BeTrue())
		g.Expect(conditions.GetMessage(r, v1alpha1.ConditionVolumeSnapshotsAtRisk)).
			To(HavePrefix("VolumeSnapshotClass fast has deletionPolicy Delete: "))
		g.Expect(conditions.IsReady(r)).To(BeTrue(), "the Repository is ready anyway")
		g.Expect(told()).To(Equal(1))
	}, "the newest good Snapshot counts")
	testbed.ASecondLater(t, r)
	madeSnapshot(t, r, "web-2", "Retain")
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(conditions.Has(r, v1alpha1.ConditionVolumeSnapshotsAtRisk)).To(BeFalse())
	}, "a class that retains data needs no warning")
	NewWithT(t).Expect(told()).To(Equal(1))
}
