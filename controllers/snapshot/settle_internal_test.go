package snapshot

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// A snapshot controller that still has the old deletionPolicy in its cache leaves the content, and the data, for ever.
// So a VolumeSnapshot is not deleted in the pass that changes the policy.
func TestAVolumeSnapshotIsDeletedAfterThePolicyOfItsContent(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
	v := &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data-1", UID: "v"},
		Status:     &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: new("content")},
	}
	content := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "content"},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			DeletionPolicy:    snapshotv1.VolumeSnapshotContentRetain,
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: "shop", Name: "data-1", UID: "v"},
		},
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithObjects(v, content).Build()
	clock := clocktesting.NewFakePassiveClock(time.Now())
	r := &Reconciler{Client: c, APIReader: c, FieldManager: "test", Clock: clock}
	pass := func() bool {
		removed, err := r.remove(t.Context(), v, snapshotv1.VolumeSnapshotContentDelete)
		g.Expect(err).NotTo(HaveOccurred())
		return removed
	}
	for range 3 { // an event can start a pass at any time
		g.Expect(pass()).To(BeFalse())
	}
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(v), v)).To(Succeed(), "it still exists")
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(content), content)).To(Succeed())
	g.Expect(content.Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentDelete))
	clock.SetTime(time.Now().Add(settles + time.Second))
	g.Expect(pass()).To(BeTrue())
	g.Expect(apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(v), v))).To(BeTrue())
}
