package retention

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// snapshotOf returns a Snapshot of a restore point.
func snapshotOf(repository, point string) *v1alpha1.Snapshot {
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: repository + "-" + point, UID: types.UID(repository + point), Generation: 1,
		Finalizers: []string{v1alpha1.FinalizerWipe},
		Labels: map[string]string{
			v1alpha1.LabelRepository: repository, v1alpha1.LabelRestorePoint: point,
			v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind,
		},
	}}
	s.Spec.Repository, s.Spec.BackupSession, s.Spec.Session = repository, point, "nightly"
	s.Status.Phase = v1alpha1.SnapshotSucceeded
	return s
}

// marked marks a Snapshot as remove does.
func marked(s *v1alpha1.Snapshot) {
	conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonNotKept, "m")
	s.Spec.DeletionPolicy, s.Status.ObservedGeneration = v1alpha1.WipeOut, 2
	s.Finalizers, s.Generation = append(s.Finalizers, v1alpha1.FinalizerRecord), 2
}

// stopped is a stopwatch that stands still.
func stopped() time.Duration { return 0 }

// liveClient returns an API server with Snapshots.
func liveClient(g *WithT, snapshots ...*v1alpha1.Snapshot) client.WithWatch {
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	b := fake.NewClientBuilder().WithScheme(scheme)
	for _, s := range snapshots {
		b = b.WithObjects(s.DeepCopy())
	}
	return b.Build()
}

// The Repositories of a batch remove their parts of a restore point at the same time. That holds up none of them, but
// whatever can keep the restore point does.
func TestASiblingThatRemovesItsPartHoldsUpNoRemoval(t *testing.T) {
	t.Parallel()
	deleted := func(s *v1alpha1.Snapshot) { s.DeletionTimestamp = new(metav1.Now()) }
	both := func(changes ...func(*v1alpha1.Snapshot)) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) {
			for _, change := range changes {
				change(s)
			}
		}
	}
	paused := func(s *v1alpha1.Snapshot) { s.Spec.Paused, s.Generation = true, s.Generation+1 }
	for name, c := range map[string]struct {
		was, change func(*v1alpha1.Snapshot)
		gone, stays bool
		behind      bool
	}{
		"it is marked": {change: marked},
		"only its status is marked": {change: func(s *v1alpha1.Snapshot) {
			conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonTooOld, "m")
		}},
		"it is being deleted": {change: both(marked, deleted)},
		"somebody deletes it": {change: deleted},
		"it is gone":          {gone: true},
		"it is paused":        {change: paused, behind: true},
		"it is paused, and marked before": {
			was: marked, change: paused, behind: true,
		},
		"it is paused and marked": {change: both(paused, marked), behind: true},
		"the mark was taken back": {
			was: marked, change: func(s *v1alpha1.Snapshot) {
				s.Spec.DeletionPolicy = v1alpha1.DeleteObjects
				conditions.Delete(s, v1alpha1.ConditionRetained)
			}, behind: true,
		},
		"a check found it damaged": {
			change: func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }, behind: true,
		},
		"a check found it damaged, and it is marked": {
			change: both(marked, func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }), behind: true,
		},
		"it has another time": {
			change: both(marked, func(s *v1alpha1.Snapshot) { s.Status.SnapshotTime = new(metav1.Now()) }),
			behind: true,
		},
		"it is of another restore point": {
			change: both(marked, func(s *v1alpha1.Snapshot) { s.Labels[v1alpha1.LabelRestorePoint] = "b" }),
			behind: true,
		},
		"a restore was cut off": {
			change: both(marked, func(s *v1alpha1.Snapshot) {
				s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "x"}
			}), behind: true,
		},
		"somebody else wants its data to go": {
			change: func(s *v1alpha1.Snapshot) { s.Spec.DeletionPolicy = v1alpha1.WipeOut }, behind: true,
		},
		"it was made again":          {change: func(s *v1alpha1.Snapshot) { s.UID = "2" }, behind: true},
		"it was made again and goes": {change: both(deleted, func(s *v1alpha1.Snapshot) { s.UID = "2" }), behind: true},
		"it stays, and is deleted":   {change: deleted, stays: true, behind: true},
		"it stays, and is gone":      {gone: true, stays: true, behind: true},
		"it stays, and is marked":    {change: marked, stays: true, behind: true},
		"nobody has changed it":      {},
		"it has lost the label of its Repository": {
			was: func(s *v1alpha1.Snapshot) { delete(s.Labels, v1alpha1.LabelRepository) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			ours, cached := snapshotOf("web", "a"), snapshotOf("db", "a")
			if c.was != nil {
				c.was(cached)
			}
			ours.ResourceVersion, cached.ResourceVersion = "7", "7"
			live := []*v1alpha1.Snapshot{ours}
			if is := cached.DeepCopy(); !c.gone {
				if c.change != nil {
					c.change(is)
					is.ResourceVersion = "8"
				}
				live = append(live, is)
			}
			r := &Reconciler{Stopwatch: stopped, APIReader: liveClient(g, live...)}
			err := r.confirmSnapshots(t.Context(), &state{
				repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}},
				siblings:   []string{"db"}, decided: []*v1alpha1.Snapshot{ours, cached},
				leaving: map[string]bool{cached.Name: !c.stays},
			}, time.Now())
			if c.behind {
				g.Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
		})
	}
}

// A pass does not read all Snapshots of a restore point one by one.
func TestAPassReadsFewSnapshotsOneByOne(t *testing.T) {
	t.Parallel()
	for changed, behind := range map[int]bool{maxAsked: false, maxAsked + 1: true} {
		g := NewWithT(t)
		s := &state{
			repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}},
			leaving:    map[string]bool{},
		}
		var live []*v1alpha1.Snapshot
		for i := range changed {
			sibling := fmt.Sprintf("db%02d", i)
			cached := snapshotOf(sibling, "a")
			cached.ResourceVersion = "7"
			is := cached.DeepCopy()
			is.ResourceVersion = "8"
			marked(is)
			live = append(live, is)
			s.siblings, s.decided, s.leaving[is.Name] = append(s.siblings, sibling), append(s.decided, cached), true
		}
		reader := &countingReader{Reader: liveClient(g, live...)}
		err := (&Reconciler{Stopwatch: stopped, APIReader: reader}).confirmSnapshots(t.Context(), s, time.Now())
		g.Expect(apierrors.IsConflict(err)).To(Equal(behind), "%v", err)
		g.Expect(reader.gets).To(Equal(maxAsked))
	}
}

// countingReader counts what is read.
type countingReader struct {
	client.Reader
	lists, gets int
}

func (c *countingReader) Get(
	ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption,
) error {
	c.gets++
	return c.Reader.Get(ctx, key, o, opts...)
}

func (c *countingReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	c.lists++
	return c.Reader.List(ctx, list, opts...)
}
