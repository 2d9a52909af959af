package repository

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// Somebody gives the removal up once the directory is gone, while Snapshots still wait for their records.
func TestARemovalThatIsGivenUpTooLateKeptNothing(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, _ := initialised(t, storageOf(t))
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: "s", Finalizers: []string{v1alpha1.FinalizerWipe},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "1", Repository: r.Name, Session: "nightly", BackupSession: "b", Version: "v1",
			AppRef: r.Spec.AppRef,
		},
	}
	bed.Create(t, s)
	bed.Edit(t, r, func() { r.Spec.DeletionPolicy = v1alpha1.WipeOut })
	g.Expect(bed.Client.Delete(t.Context(), r)).To(Succeed())
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(conditions.IsUnknown(r, v1alpha1.ConditionWiped)).To(BeTrue())
	}, "the removal is asked for")
	bed.EditStatus(t, r, func() {
		conditions.MarkTrue(r, v1alpha1.ConditionWiped, v1alpha1.ReasonSucceeded, "the directory was removed")
	})
	bed.Edit(t, r, func() { r.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: string(r.UID)} })
	bed.Eventually(t, s, func(g Gomega) {
		g.Expect(s.DeletionTimestamp).NotTo(BeNil())
		g.Expect(s.Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut))
		g.Expect(conditions.GetReason(s, v1alpha1.ConditionRetained)).To(Equal(v1alpha1.ReasonRepositoryWiped))
	}, "the record of the Snapshot says what became of its data")
	bed.Edit(t, s, func() { s.Finalizers = nil })
	g.Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(r), r))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), "the Repository is released")
	g.Expect(events.Of(r.Namespace)).NotTo(ContainElement(ContainSubstring(v1alpha1.ReasonDataKept)),
		"no data stays in the backend")
}

// A policy that was about to wipe the Repository is gone without it: the Repository has its own deletionPolicy again.
func TestNothingIsLeftOfADepartureWithoutPolicy(t *testing.T) {
	t.Parallel()
	r, _ := initialised(t, storageOf(t))
	bed.Edit(t, r, func() {
		r.Spec.DeletionPolicy = v1alpha1.WipeOut
		metav1.SetMetaDataAnnotation(&r.ObjectMeta, v1alpha1.AnnotationDeparture,
			"Delete/"+string(r.UID)+"/BackupConfiguration/gone/uid-gone")
	})
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(r.Annotations).NotTo(HaveKey(v1alpha1.AnnotationDeparture))
		g.Expect(r.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
	}, "no policy asks for a wipe any more")
}
