package snapshot

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A sweep lists VolumeSnapshots while a backup makes one, and looks at the Snapshots when that backup has ended.
func TestASnapshotThatWasMadeDuringTheSweepIsWhole(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"it became ready": true, "it can't be used": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			listed := &snapshotv1.VolumeSnapshot{}
			listed.ObjectMeta = metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "v"}
			live := listed.DeepCopy()
			live.Status = &snapshotv1.VolumeSnapshotStatus{
				BoundVolumeSnapshotContentName: new("content"), ReadyToUse: new(whole),
			}
			content := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Name: "content"}}
			content.Spec.VolumeSnapshotRef.Namespace, content.Spec.VolumeSnapshotRef.Name = "shop", "web"
			content.Spec.VolumeSnapshotRef.UID = "v"
			s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "one"}}
			s.Status.Phase = v1alpha1.SnapshotSucceeded
			s.Status.Components = map[string]v1alpha1.Component{"data": {
				Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverVolumeSnapshotter, ID: "v",
				VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{VolumeSnapshotName: "web"}},
			}}
			scheme := testbed.Scheme()
			g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(live, content).Build()
			r := &Reconciler{Client: c, APIReader: c, Clock: clock.RealClock{}}
			out, lost, err := r.checked(t.Context(), s, map[types.UID]*pair{"v": {snapshot: listed}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(client.ObjectKeyFromObject(out)).To(Equal(client.ObjectKeyFromObject(s)))
			g.Expect(*out.Status.Integrity).To(Equal(whole))
			g.Expect(len(lost) == 0).To(Equal(whole))
		})
	}
}
