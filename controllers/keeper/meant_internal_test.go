package keeper

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A keeper sees a deleted Snapshot as soon as the controller that would release it, and no terminating namespace keeps
// its Job out when only the kind goes. A CRD that goes would take along the objects of all other tests.
func TestAKeeperRemovesNothingWhoseKindGoes(t *testing.T) {
	t.Parallel()
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "web"}
	repository, snapshot := &v1alpha1.Repository{ObjectMeta: meta}, &v1alpha1.Snapshot{ObjectMeta: meta}
	all := []keeper.Work{
		{Repository: repository, Wipe: true},
		{Repository: repository, Snapshots: []*v1alpha1.Snapshot{snapshot}},
		{Repository: repository, Snapshots: []*v1alpha1.Snapshot{snapshot}, Maintain: task.MaintainQuick},
	}
	for name, tt := range map[string]struct {
		repositories, snapshots bool
		wipes, removes, works   int
	}{
		"neither":      {wipes: 1, removes: 2, works: 3},
		"Repositories": {repositories: true, removes: 2, works: 2},
		"Snapshots":    {snapshots: true, wipes: 1, works: 2},
		"both":         {repositories: true, snapshots: true, works: 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := &Reconciler{APIReader: fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
				testbed.Definition("repositories", tt.repositories), testbed.Definition("snapshots", tt.snapshots),
			).Build()}
			look := r.meant
			if tt.wipes+tt.removes == 0 {
				look = r.idle // which has nothing else to look for
			}
			got, err := look(t.Context(), all)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(HaveLen(tt.works))
			wipes, removes := 0, 0
			for _, w := range got {
				if w.Wipe {
					wipes++
				}
				removes += len(w.Snapshots)
			}
			g.Expect([]int{wipes, removes}).To(Equal([]int{tt.wipes, tt.removes}))
			g.Expect(all[1].Snapshots).To(HaveLen(1), "the work of the caller stays as it is")
		})
	}
	t.Run("nobody knows", func(t *testing.T) {
		g, lost := NewWithT(t), errors.New("lost")
		r := &Reconciler{APIReader: fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{Get: func(
			context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption,
		) error {
			return lost
		}}).Build()}
		_, err := r.meant(t.Context(), all)
		g.Expect(err).To(MatchError(lost))
		got, err := r.meant(t.Context(), []keeper.Work{{Repository: repository, Maintain: task.MaintainQuick}})
		g.Expect(err).NotTo(HaveOccurred(), "maintenance asks nothing")
		g.Expect(got).To(HaveLen(1))
	})
}
