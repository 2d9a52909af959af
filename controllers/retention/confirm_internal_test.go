package retention

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Some run of a batch is always under way: it must not hold up the removals of all its Repositories.
func TestARunUnderWayHoldsUpNoRemoval(t *testing.T) {
	for name, tt := range map[string]struct {
		phase  v1alpha1.SnapshotPhase
		change func(*v1alpha1.Snapshot)
		behind bool
	}{
		"it reports progress": {
			v1alpha1.SnapshotRunning, func(s *v1alpha1.Snapshot) { s.Status.Size = "1 GiB" }, false,
		},
		"it has begun": {
			v1alpha1.SnapshotPending, func(s *v1alpha1.Snapshot) { s.Status.Phase = v1alpha1.SnapshotRunning }, false,
		},
		"it has succeeded": {
			v1alpha1.SnapshotRunning, func(s *v1alpha1.Snapshot) { s.Status.Phase = v1alpha1.SnapshotSucceeded }, false,
		},
		"it is of another restore point": {
			v1alpha1.SnapshotRunning, func(s *v1alpha1.Snapshot) { s.Labels[v1alpha1.LabelRestorePoint] = "b" }, true,
		},
		"it is another one": {v1alpha1.SnapshotRunning, func(s *v1alpha1.Snapshot) { s.UID = "2" }, true},
		"a check found it damaged": {
			v1alpha1.SnapshotSucceeded, func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			cached := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "web-1", UID: "1", Generation: 1, ResourceVersion: "7",
				Labels: map[string]string{v1alpha1.LabelRepository: "web", v1alpha1.LabelRestorePoint: "a"},
			}}
			cached.Spec.Repository, cached.Status.Phase = "web", tt.phase
			live := cached.DeepCopy()
			live.ResourceVersion = "8"
			tt.change(live)
			r := &Reconciler{
				Stopwatch: stopped, APIReader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(live).Build(),
			}
			err := r.confirmSnapshots(t.Context(), &state{
				repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}},
				decided:    []*v1alpha1.Snapshot{cached},
			}, time.Now())
			if tt.behind {
				g.Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
		})
	}
}

// The cache of a manager that was paused does not know yet that a Repository of the same batch has moved.
func TestASiblingThatHasMovedMeanwhileHoldsUpRemovals(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*v1alpha1.Repository)
		behind bool
	}{
		"it has not": {func(*v1alpha1.Repository) {}, false},
		"it has":     {func(r *v1alpha1.Repository) { r.Status.MovedTime = &metav1.Time{Time: time.Now()} }, true},
		"it has long ago, and no check could run": {func(r *v1alpha1.Repository) {
			r.Status.MovedTime = &metav1.Time{Time: time.Now().AddDate(0, 0, -9)}
		}, true},
		"it has, and checks fail for long": {func(r *v1alpha1.Repository) {
			r.Status.MovedTime = &metav1.Time{Time: time.Now().AddDate(0, 0, -10)}
			r.Status.CheckTriedTime = &metav1.Time{Time: time.Now().AddDate(0, 0, -9)}
		}, false},
		"it has, and is no sibling": {func(r *v1alpha1.Repository) {
			r.Name, r.Status.MovedTime = "other", &metav1.Time{Time: time.Now()}
		}, false},
		"it has, and is that of a record": {func(r *v1alpha1.Repository) {
			r.Status.MovedTime = &metav1.Time{Time: time.Now()}
			r.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			cached := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "db", UID: "1", ResourceVersion: "7",
			}}
			live := cached.DeepCopy()
			live.ResourceVersion = "8"
			tt.change(live)
			cached.Name = live.Name
			r := &Reconciler{
				Client:    fake.NewClientBuilder().WithScheme(scheme).WithObjects(cached).Build(),
				APIReader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(live).Build(),
				Clock:     clock.RealClock{},
			}
			err := r.confirmSiblings(t.Context(), &state{
				repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}},
				siblings:   []string{"db"},
			})
			if tt.behind {
				g.Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
		})
	}
}
