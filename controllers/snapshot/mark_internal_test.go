package snapshot

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// The CRD of Repositories is deleted. Then a Repository keeps its data, and so must a Snapshot of it that somebody
// deletes before the Repository is gone. A fake API server has no other objects whose CRD is in use.
func TestASnapshotDoesNotGoWithARepositoryWhoseKindGoes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		driver               v1alpha1.Driver
		wiped, kind, another bool
		marks                bool
	}{
		"on purpose":                      {driver: v1alpha1.DriverKopia, marks: true},
		"VolumeSnapshots, on purpose":     {driver: v1alpha1.DriverVolumeSnapshotter, marks: true},
		"with the kind":                   {driver: v1alpha1.DriverKopia, kind: true},
		"VolumeSnapshots, with the kind":  {driver: v1alpha1.DriverVolumeSnapshotter, kind: true},
		"with the kind, when it is wiped": {driver: v1alpha1.DriverKopia, kind: true, wiped: true, marks: true},
		"with the kind of Snapshots":      {driver: v1alpha1.DriverKopia, another: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			repository := &v1alpha1.Repository{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "web", UID: "repository", DeletionTimestamp: new(metav1.Now()),
					Finalizers: []string{v1alpha1.FinalizerWipe},
				},
				Spec:   v1alpha1.RepositorySpec{Driver: tt.driver, DeletionPolicy: v1alpha1.WipeOut},
				Status: v1alpha1.RepositoryStatus{InitializedSpec: "somewhere"},
			}
			if tt.wiped {
				repository.Status.Conditions = []metav1.Condition{{
					Type: v1alpha1.ConditionWiped, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonWiped,
				}}
			}
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "one", UID: "one", DeletionTimestamp: new(metav1.Now()),
					Finalizers: []string{v1alpha1.FinalizerWipe},
				},
				Spec: v1alpha1.SnapshotSpec{Repository: "web", DeletionPolicy: v1alpha1.DeleteObjects},
			}
			c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithStatusSubresource(s, repository).WithObjects(
				s, repository, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
				testbed.Definition("repositories", tt.kind), testbed.Definition("snapshots", tt.another)).
				WithIndex(s, indexRepository, repositoryOf).Build()
			g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
			r := &Reconciler{Client: c, APIReader: c, FieldManager: "test", Clock: clock.RealClock{}}
			g.Expect(r.mark(t.Context(), s)).To(Succeed())
			g.Expect(s.Spec.DeletionPolicy == v1alpha1.WipeOut).To(Equal(tt.marks))
		})
	}
}
