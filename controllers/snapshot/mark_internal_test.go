package snapshot

import (
	"context"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

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

// A Repository is deleted with thousands of Snapshots in the foreground: whether its kind goes is asked for once.
func TestTheSnapshotsOfARepositoryShareTheQuestionWhetherItsKindGoes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var objects []client.Object
	add := func(name string) []*v1alpha1.Snapshot {
		repository := &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: name, UID: types.UID(name), DeletionTimestamp: new(metav1.Now()),
				Finalizers: []string{v1alpha1.FinalizerWipe},
			},
			Spec:   v1alpha1.RepositorySpec{Driver: v1alpha1.DriverKopia, DeletionPolicy: v1alpha1.WipeOut},
			Status: v1alpha1.RepositoryStatus{InitializedSpec: "somewhere"},
		}
		objects = append(objects, repository)
		var out []*v1alpha1.Snapshot
		for i := range 3 {
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: name + strconv.Itoa(i), UID: types.UID(name + strconv.Itoa(i)),
					DeletionTimestamp: new(metav1.Now()), Finalizers: []string{v1alpha1.FinalizerWipe},
				},
				Spec: v1alpha1.SnapshotSpec{Repository: name, DeletionPolicy: v1alpha1.DeleteObjects},
			}
			out, objects = append(out, s), append(objects, s)
		}
		return out
	}
	first, second := add("web"), add("db")
	kind := testbed.Definition("repositories", false)
	c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithStatusSubresource(&v1alpha1.Snapshot{}).
		WithObjects(append(objects, kind, testbed.Definition("snapshots", false),
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})...).
		WithIndex(&v1alpha1.Snapshot{}, indexRepository, repositoryOf).Build()
	asked := 0
	live := interceptor.NewClient(c, interceptor.Funcs{Get: func(
		ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption,
	) error {
		if key.Name == kind.Name {
			asked++
		}
		return c.Get(ctx, key, o, opts...)
	}})
	r := &Reconciler{
		Client: c, APIReader: live, FieldManager: "test", Clock: clocktesting.NewFakePassiveClock(time.Now()),
	}
	marks := func(all []*v1alpha1.Snapshot) {
		t.Helper()
		for _, s := range all {
			g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
			g.Expect(r.mark(t.Context(), s)).To(Succeed())
			g.Expect(s.Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut))
		}
	}
	marks(first)
	marks(second)
	g.Expect(asked).To(Equal(1))
}
