package keeper_test

import (
	"testing"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// A backup of a cluster was taken while a keeper ran, and is brought back into a new cluster, with its Lease.
func TestALeaseOfAnotherClusterStopsNoKeeper(t *testing.T) {
	t.Parallel()
	for holder, stops := range map[string]bool{"cairn@the-old-cluster": false, "an administrator": true} {
		t.Run(holder, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newShop(t)
			bed.Create(t, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: s.namespace,
					Name:      policy.JobName("keeper", s.storage.Namespace, s.storage.Name),
					Labels:    map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
				},
				Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder},
			})
			del(t, s.snapshot(s.repository, 1, good, wipeOutSnapshot))
			if stops {
				s.noJob("somebody else holds the Lease")
				return
			}
			job, _ := s.job()
			lease := leaseOf(t, job)
			g.Expect(lease.Spec.HolderIdentity).To(HaveValue(Equal("cairn@uid-cluster")))
			g.Expect(metav1.IsControlledBy(job, lease)).To(BeTrue())
			s.did(job, "")
			gone(t, job, "its result is written")
		})
	}
}
