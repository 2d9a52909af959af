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
	clock := clocktesting.NewFakePassiveClock(time.Now().Add(time.Second))
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
	clock.SetTime(time.Now().Add(policyLag + time.Second))
	g.Expect(pass()).To(BeTrue())
	g.Expect(apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(v), v))).To(BeTrue())
}

func TestAPolicyIsFreshForAMoment(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		manager string
		age     time.Duration
		fresh   bool
	}{
		"changed just now":                     {"ours", 0, true},
		"changed a moment ago":                 {"ours", policyLag - time.Second, true},
		"changed long enough ago":              {"ours", policyLag, false},
		"the API server's clock is a bit fast": {"ours", -time.Second, true},
		"the API server's clock is far off":    {"ours", -time.Hour, false},
		"somebody else changed it":             {"theirs", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Reconciler{FieldManager: "ours", Clock: clocktesting.NewFakePassiveClock(now)}
			content := &snapshotv1.VolumeSnapshotContent{}
			content.ManagedFields = []metav1.ManagedFieldsEntry{
				{Manager: tt.manager, Time: new(metav1.NewTime(now.Add(-tt.age)))}, {Manager: "ours"},
			}
			NewWithT(t).Expect(r.changedJustNow(content)).To(Equal(tt.fresh))
		})
	}
}
