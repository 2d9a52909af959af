package controllers_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// newSnapshotRemoval returns a removal whose Repository holds VolumeSnapshots.
func newSnapshotRemoval(t *testing.T, deletion v1alpha1.RepositoryDeletionPolicy) *removal {
	t.Helper()
	w := &removal{world: newWorld(t, "configuration", "repository", "retention", "keeper", "snapshot")}
	sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "web"),
		&v1alpha1.RetentionPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "one"},
			Spec: v1alpha1.RetentionPolicySpec{SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{
				Last: new(int32(1)),
			}},
		},
		configuration(w.World, "web", func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Backends = []v1alpha1.BackendReference{{
				Name:            "rules",
				RetentionPolicy: &v1alpha1.ObjectReference{Name: "one"},
			}}
			c.Spec.Sessions[0].Addon.Tasks[0].Name = "volume-snapshot"
			c.Spec.Sessions[0].Repositories = []v1alpha1.RepositoryInfo{{Name: "web", DeletionPolicy: deletion}}
		}))
	w.settle()
	w.Expect(conditions.IsReady(w.repository())).To(BeTrue(), "%+v", w.repository().Status.Conditions)
	return w
}

// volumes gives a Snapshot its VolumeSnapshot, whose content has deletionPolicy Retain.
func (w *removal) volumes(s *v1alpha1.Snapshot) {
	w.T.Helper()
	v := volumesnapshot.New(w.Namespace, "of-"+s.Name, "web", "fast",
		map[string]string{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn,
			v1alpha1.LabelSnapshot:  policy.LabelValue(s.Name),
		},
		map[string]string{v1alpha1.AnnotationSnapshotUID: string(s.UID)})
	w.Expect(w.Client.Create(w.T.Context(), v)).To(Succeed())
	csi.Ready(w.T, w.Client, v)
	bed.EditStatus(w.T, s, func() {
		s.Status.Components = map[string]v1alpha1.Component{"pvc": {
			Phase: s.Status.Phase, Driver: v1alpha1.DriverVolumeSnapshotter, ID: string(v.UID),
			VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{
				PVCName: "web", VolumeSnapshotName: v.Name,
				ContentDeletionPolicy: "Delete",
			}},
		}}
	})
}

// volumesLeft returns the existing VolumeSnapshots and, for all contents, what happens to their data.
func (w *removal) volumesLeft() (left []string) {
	w.T.Helper()
	var snapshots snapshotv1.VolumeSnapshotList
	w.Expect(w.Client.List(w.T.Context(), &snapshots, client.InNamespace(w.Namespace))).To(Succeed())
	for _, v := range snapshots.Items {
		left = append(left, v.Name)
	}
	var contents snapshotv1.VolumeSnapshotContentList
	w.Expect(w.Client.List(w.T.Context(), &contents)).To(Succeed())
	for _, c := range contents.Items {
		if c.Spec.VolumeSnapshotRef.Namespace == w.Namespace {
			left = append(left, fmt.Sprint("content of ", c.Spec.VolumeSnapshotRef.Name, ": ", c.Spec.DeletionPolicy))
		}
	}
	return slices.Sorted(slices.Values(left))
}

// TestRemovalOfVolumeSnapshotsKilledAtAnyWrite: a policy lets one Snapshot go, and then policy is deleted with the
// Repository and the data.
func TestRemovalOfVolumeSnapshotsKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	t.Run("by retention", func(t *testing.T) {
		t.Parallel()
		killedAnywhere(t, 0, func(t *testing.T, k kills) (*world, any) {
			w := newSnapshotRemoval(t, v1alpha1.RetainRepository)
			for hours := 1; hours <= 2; hours++ {
				w.volumes(w.snapshot(hours, good))
			}
			w.disturb(k)
			w.settle()
			return w.world, fmt.Sprint(w.volumesLeft(), w.end())
		}, func(g Gomega, end any) {
			g.Expect(end).
				To(HavePrefix(
					"[content of of-web-run-1: Retain content of of-web-run-2: Delete of-web-run-1] {[] [web-run-1 " +
						"true] map[web-run-2:[NotKept]] Applied"))
		})
	})
	t.Run("with the Repository", func(t *testing.T) {
		t.Parallel()
		killedAnywhere(t, 0, func(t *testing.T, k kills) (*world, any) {
			w := newSnapshotRemoval(t, v1alpha1.WipeOutRepository)
			w.volumes(w.snapshot(1, good))
			w.settle()
			w.disturb(k)
			w.Expect(w.Client.Delete(t.Context(),
				&v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"}})).
				To(Succeed())
			w.settle()
			return w.world, fmt.Sprint(w.volumesLeft(), w.end())
		}, func(g Gomega, end any) {
			g.Expect(end).To(
				Equal("[content of of-web-run-1: Delete] {[] [] map[web-run-1:[RepositoryWiped]] gone 0 }"))
		})
	})
}
