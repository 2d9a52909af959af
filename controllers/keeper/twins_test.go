package keeper_test

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// An earlier version could make two Snapshots of one backup. The data goes with the last of them, and the record of the
// other one does not say that its data was removed.
func TestTheDataGoesWithTheLastSnapshotOfABackup(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	first := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	twin := s.snapshot(s.repository, 2, good, wipeOutSnapshot, func(o *v1alpha1.Snapshot) {
		o.Spec.SnapshotID = first.Spec.SnapshotID
	})
	alone := s.snapshot(s.repository, 3, good, wipeOutSnapshot)
	del(t, first)
	released(t, first)
	g.Expect(conditions.Get(first, v1alpha1.ConditionWiped)).To(HaveValue(And(
		HaveField("Reason", v1alpha1.ReasonDataKept),
		HaveField("Message", "the data stays in the backend: Snapshot "+twin.Name+
			" is of the same backup and needs it"))))
	expectEvent(t, s.namespace, "Warning DataKept the data stays in the backend: Snapshot "+twin.Name)
	s.noJob("there is nothing to remove")

	del(t, alone)
	job, keep := s.job()
	g.Expect(keep.Keep[0].Remove).To(HaveLen(1))
	g.Expect(keep.Keep[0].Remove[0].Name).To(Equal(alone.Name))
	s.did(job, "")
	released(t, alone)
	gone(t, job, "the Job is removed")
	del(t, twin)
	s.removes(twin)
	released(t, twin)
	g.Expect(conditions.GetReason(twin, v1alpha1.ConditionWiped)).To(Equal(v1alpha1.ReasonWiped))
}

// Both Snapshots of a backup are deleted, and a restore reads one of them.
func TestARestoreHoldsTheDataOfBothSnapshotsOfABackup(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newShop(t)
	read := s.snapshot(s.repository, 1, good, wipeOutSnapshot)
	twin := s.snapshot(s.repository, 2, good, wipeOutSnapshot, func(o *v1alpha1.Snapshot) {
		o.Spec.SnapshotID = read.Spec.SnapshotID
	})
	s.restores(read)
	del(t, read)
	bed.Cached(t, read)
	del(t, twin)
	released(t, twin)
	g.Expect(conditions.Get(twin, v1alpha1.ConditionWiped)).To(HaveValue(And(
		HaveField("Reason", v1alpha1.ReasonDataKept),
		HaveField("Message", "the data goes or stays with Snapshot "+read.Name+
			", which is of the same backup and is being deleted too"))), "the data does not stay for good")
	s.noJob("nothing is removed under a restore")
	g.Expect(s.get(read.Name).Finalizers).To(ContainElement(v1alpha1.FinalizerWipe))
}
