package keeper_test

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// expectWiped waits for the reason of the Repository's condition Wiped.
func (s *shop) expectWiped(reason, message string) {
	s.t.Helper()
	bed.Eventually(s.t, s.repository, func(g Gomega) {
		g.Expect(conditions.GetReason(s.repository, v1alpha1.ConditionWiped)).To(Equal(reason))
		g.Expect(conditions.GetMessage(s.repository, v1alpha1.ConditionWiped)).To(ContainSubstring(message))
	}, reason)
}

// A storage can be edited to name another place: to find nothing there would let every Snapshot count as removed.
func TestAWipeOfAnotherPlaceIsNotDone(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	o := s.snapshot(s.repository, 1, good)
	prefix := s.storage.Spec.Storage.S3.Prefix
	bed.Edit(t, s.storage, func() { s.storage.Spec.Storage.S3.Prefix = "elsewhere" })
	bed.Cached(t, s.storage)
	del(t, s.repository)
	s.expectWiped(v1alpha1.ReasonStorageChanged, "now names another place")
	s.noJob("nothing is looked for in another place")
	expectKept(t, o)

	bed.Edit(t, s.storage, func() { s.storage.Spec.Storage.S3.Prefix = prefix })
	job, keep := s.job()
	g.Expect(keep.Keep[0].Wipe).To(BeTrue())
	g.Expect(keep.Storage.Spec.S3.Prefix).To(Equal(prefix))
	s.did(job, "")
	recorded(t, o)
	gone(t, s.repository, "its data is gone")
}

// A restore can begin between the decision to wipe and the Job that does it.
func TestAWipeWaitsForARestoreThatBeganLater(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t, wipeOut)
	o := s.snapshot(s.repository, 1, good)
	del(t, testbed.S3Key(s.storage.Namespace))
	del(t, s.repository)
	s.expectWiped(v1alpha1.ReasonBackendSecretNotAvailable, "")
	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "late"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
			DataSource: &v1alpha1.RestoreDataSource{Repository: "web", Snapshot: o.Name},
		},
	}
	bed.Create(t, restore, testbed.S3Key(s.storage.Namespace))
	request := ctrl.Request{NamespacedName: client.ObjectKey{
		Namespace: s.namespace, Name: client.ObjectKeyFromObject(s.storage).String(),
	}}
	g.Expect(keepers.Reconcile(t.Context(), request)).NotTo(BeNil())
	s.expectWiped(v1alpha1.ReasonInUse, "RestoreSession "+s.namespace+"/late reads it")
	s.noJob("nothing is removed under a restore")
	expectKept(t, o)
}
