package snapshot

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestContentsLeft asks what becomes of the content of a VolumeSnapshot that is gone. A mover reports the names.
func TestContentsLeft(t *testing.T) {
	const being = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"
	type content = snapshotv1.VolumeSnapshotContent
	for name, tt := range map[string]struct {
		edit    func(*content)
		report  func(*v1alpha1.VolumeSnapshotterStats)
		foreign []string
		going   int
		kept    []string
	}{
		"left by the snapshot controller": {going: 1},
		"not marked":                      {edit: func(c *content) { c.Annotations = nil }, kept: []string{"content"}},
		"deletionPolicy Retain again": {
			edit: func(c *content) { c.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentRetain },
			kept: []string{"content"},
		},
		"of a VolumeSnapshot made again": {edit: func(c *content) { c.Spec.VolumeSnapshotRef.UID = "other" }},
		"of another namespace":           {edit: func(c *content) { c.Spec.VolumeSnapshotRef.Namespace = "other" }},
		"imported": {
			edit: func(c *content) { c.Spec.Source = snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("h")} },
		},
		"policy keeps the data": {
			report: func(s *v1alpha1.VolumeSnapshotterStats) { s.ContentDeletionPolicy = "Retain" },
		},
		"the VolumeSnapshot is another's": {foreign: []string{"data-1"}},
		"a name that is none": {
			report: func(s *v1alpha1.VolumeSnapshotterStats) { s.VolumeSnapshotContentName = "../content" },
		},
		"no name reported": {
			edit: func(c *content) { c.Name = "snapcontent-v" },
			report: func(s *v1alpha1.VolumeSnapshotterStats) {
				s.VolumeSnapshotContentName = ""
			},
			going: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
			c := &content{
				ObjectMeta: metav1.ObjectMeta{Name: "content", Annotations: map[string]string{being: "yes"}},
				Spec: snapshotv1.VolumeSnapshotContentSpec{
					DeletionPolicy:    snapshotv1.VolumeSnapshotContentDelete,
					VolumeSnapshotRef: corev1.ObjectReference{Namespace: "shop", Name: "data-1", UID: "v"},
					Source:            snapshotv1.VolumeSnapshotContentSource{VolumeHandle: new("h")},
				},
			}
			if tt.edit != nil {
				tt.edit(c)
			}
			stats := v1alpha1.VolumeSnapshotterStats{VolumeSnapshotName: "data-1", VolumeSnapshotContentName: "content"}
			if tt.report != nil {
				tt.report(&stats)
			}
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "one"},
				Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{
					"pvc": {ID: "v", VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{stats}},
				}},
			}
			r := &Reconciler{APIReader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(c).Build()}
			left, err := r.contentsLeft(t.Context(), s, tt.foreign)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(left.going).To(HaveLen(tt.going))
			g.Expect(left.kept).To(Equal(tt.kept))
		})
	}
}
