package keeper_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// lagging is a cache that holds a Repository and a Snapshot as they were.
type lagging struct {
	client.Client
	repository *v1alpha1.Repository
	snapshot   *v1alpha1.Snapshot
}

func (l lagging) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch list := list.(type) {
	case *v1alpha1.RepositoryList:
		list.Items = []v1alpha1.Repository{*l.repository.DeepCopy()}
		return nil
	case *v1alpha1.SnapshotList:
		if l.snapshot != nil {
			list.Items = []v1alpha1.Snapshot{*l.snapshot.DeepCopy()}
			return nil
		}
	}
	return l.Client.List(ctx, list, opts...)
}

// The caches of two kinds can lag differently: the cache can know that a Job is gone before it knows what the Job did.
func TestWhatWasDoneIsNotDoneAgainForAnOldCache(t *testing.T) {
	t.Parallel()
	look := func(t *testing.T, s *shop, cache lagging) {
		t.Helper()
		cache.Client = bed.Manager.GetClient()
		r := newKeepers(cache, bed.Manager.GetAPIReader(), now)
		result, err := r.Reconcile(t.Context(), s.request())
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<", 10*time.Second)),
			"the reconciler looks again soon")
		s.noJob("the work is done already")
	}
	t.Run("a maintenance", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		s.dueFor(task.MaintainQuick)
		old := s.repository.DeepCopy()
		job, _ := s.job()
		s.did(job, "")
		gone(t, job, "the Job is removed")
		look(t, s, lagging{repository: old})
	})
	t.Run("a removal", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		o := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
		del(t, o)
		job, _ := s.job()
		NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
		old := o.DeepCopy()
		s.did(job, "")
		gone(t, job, "the Job is removed")
		released(t, o)
		bed.Cached(t, s.repository)
		look(t, s, lagging{repository: s.repository, snapshot: old})
	})
}

// unaware is a cache that holds no restores, as that of a manager that was paused for a while.
type unaware struct{ client.Client }

func (c unaware) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch list.(type) {
	case *v1alpha1.RestoreSessionList, *v1alpha1.RestoreBatchList:
		return nil
	}
	return c.Client.List(ctx, list, opts...)
}

func TestARestoreThatTheCacheLacksHoldsWhatItReads(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	used := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	s.restores(used)
	del(t, used)
	bed.Cached(t, used)
	r := newKeepers(unaware{bed.Manager.GetClient()}, bed.Manager.GetAPIReader(), now)
	g.Eventually(func(g Gomega) {
		result, err := r.Reconcile(t.Context(), s.request())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(Equal(time.Minute), "by then its cache knows")
	}, "10s", "100ms").Should(Succeed())
	s.noJob("nothing is removed under a restore")
	g.Expect(s.get(used.Name).Finalizers).To(ContainElement(v1alpha1.FinalizerWipe))
}
