package snapshot

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A Snapshot waits for the keeper, or for its storage, when somebody deletes the CRD. The API server tells nothing of
// that to an object that is being deleted already. A fake API server has no other objects whose CRD is in use.
func TestASnapshotThatWaitsNoticesThatItsKindGoes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		age     time.Duration
		storage bool
		after   time.Duration
	}{
		"for the keeper":               {0, true, time.Minute},
		"for its storage":              {0, false, time.Minute},
		"for long":                     {12 * time.Minute, true, 3 * time.Minute},
		"for weeks":                    {500 * time.Hour, false, 5 * time.Minute},
		"since a clock that was ahead": {-time.Hour, true, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			repository := &v1alpha1.Repository{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "repository"},
				Spec:       v1alpha1.RepositorySpec{StorageRef: v1alpha1.ObjectReference{Name: "s3"}},
			}
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "one", UID: "one",
					DeletionTimestamp: &metav1.Time{Time: now.Add(-tt.age)},
					Finalizers:        []string{v1alpha1.FinalizerWipe},
					OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(repository,
						v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))},
				},
				Spec: v1alpha1.SnapshotSpec{Repository: "web", DeletionPolicy: v1alpha1.WipeOut},
			}
			kind := testbed.Definition("snapshots", false)
			objects := []client.Object{
				s, repository, kind, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
			}
			if tt.storage {
				objects = append(objects, &v1alpha1.BackupStorage{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3"},
				})
			}
			c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithStatusSubresource(s).
				WithObjects(objects...).WithIndex(s, indexRepository, repositoryOf).Build()
			clock := clocktesting.NewFakePassiveClock(now)
			r := &Reconciler{
				Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10), FieldManager: "test",
				Clock: clock,
			}
			request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)}
			for range 2 {
				result, err := r.Reconcile(t.Context(), request)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(result.RequeueAfter).To(Equal(tt.after))
			}
			g.Expect(c.Get(t.Context(), request.NamespacedName, s)).To(Succeed())
			g.Expect(conditions.Has(s, v1alpha1.ConditionWiped)).To(Equal(!tt.storage))

			kind.SetFinalizers([]string{apiextensionsv1.CustomResourceCleanupFinalizer})
			g.Expect(c.Update(t.Context(), kind)).To(Succeed())
			g.Expect(c.Delete(t.Context(), kind)).To(Succeed())
			clock.SetTime(now.Add(tt.after))
			_, err := r.Reconcile(t.Context(), request)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(apierrors.IsNotFound(c.Get(t.Context(), request.NamespacedName, s))).To(BeTrue(), "its data stays")
		})
	}
}
