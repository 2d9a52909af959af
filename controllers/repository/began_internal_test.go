package repository

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A keeper has removed a part of the data when the backend goes for good. Somebody deletes the BackupStorage, the
// condition says so, and the removal is given up as it asks for. The event must not say that the data stays.
func TestAHalfRemovedRepositoryIsNotSaidToStay(t *testing.T) {
	g := NewWithT(t)
	o := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", UID: "uid", DeletionTimestamp: new(metav1.Now().Rfc3339Copy()),
			Finalizers: []string{v1alpha1.FinalizerWipe},
		},
		Spec: v1alpha1.RepositorySpec{
			StorageRef: v1alpha1.ObjectReference{Name: "s3"}, Path: "/shop/web", DeletionPolicy: v1alpha1.WipeOut,
		},
		Status: v1alpha1.RepositoryStatus{InitializedSpec: "somewhere"},
	}
	retention.MarkRemovalBegan(o) // as a keeper does before it starts a Job
	conditions.MarkFalse(o, v1alpha1.ConditionWiped, v1alpha1.ReasonUnreachable, "the storage can't be reached")
	b := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithStatusSubresource(o).
		WithObjects(o, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
			testbed.Definition("repositories", false))
	g.Expect(snapshotsByRepository.Register(t.Context(), testbed.Indexes{ClientBuilder: b})).To(Succeed())
	g.Expect(restores.Register(t.Context(), testbed.Indexes{ClientBuilder: b})).To(Succeed())
	c := b.Build()
	events, clock := record.NewFakeRecorder(10), clocktesting.NewFakePassiveClock(o.DeletionTimestamp.Time)
	r := &Reconciler{Client: c, APIReader: c, EventRecorder: events, FieldManager: "test", Clock: clock}
	look := func() time.Duration {
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
		result, err := r.finalize(t.Context(), o)
		g.Expect(err).NotTo(HaveOccurred())
		return result.RequeueAfter
	}
	for age, again := range map[time.Duration]time.Duration{
		-time.Hour: time.Minute, 0: time.Minute, 12 * time.Minute: 3 * time.Minute, 500 * time.Hour: 5 * time.Minute,
	} {
		clock.SetTime(o.DeletionTimestamp.Add(age))
		g.Expect(look()).To(Equal(again), "its kind can begin to go")
	}
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
	g.Expect(conditions.GetReason(o, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonStorageNotFound))
	o.Annotations = map[string]string{v1alpha1.AnnotationGiveUp: string(o.UID)}
	g.Expect(c.Update(t.Context(), o)).To(Succeed())
	look()
	g.Expect(<-events.Events).To(ContainSubstring("a part of it can be gone"))
}

// A removal that waits is looked at seldom. A Namespace that goes must not wait for that.
func TestANamespaceTellsThatItGoes(t *testing.T) {
	g := NewWithT(t)
	before := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	after := before.DeepCopy()
	g.Expect(namespaceChanged.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})).To(BeFalse())
	after.DeletionTimestamp = new(metav1.Now())
	g.Expect(namespaceChanged.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})).To(BeTrue())
	g.Expect(namespaceChanged.Update(event.UpdateEvent{ObjectOld: after, ObjectNew: after})).To(BeFalse())
}
