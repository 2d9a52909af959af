package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// Whoever deletes a Snapshot can have asked for its data to go, too. What its mover reported says nothing about a
// Snapshot of the same name.
func TestASnapshotDeletedDuringItsRunDoesNotComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoRepositories()
	hang := true
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if hang && kubelet.TaskOf(job).Snapshot.Name == "second-run" {
			return kubelet.Outcome{Hang: true}
		}
		return kubelet.Succeed(job)
	}
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Cluster()
	w.Reconcile("run")
	first := w.snapshot("uploads-run")
	w.Expect(first.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	first.Finalizers = nil
	w.Expect(w.Client.Update(t.Context(), first)).To(Succeed())
	w.Expect(w.Client.Delete(t.Context(), first)).To(Succeed())
	w.Reconcile("run")
	w.Reconcile("run")
	w.Expect(w.snapshots()).To(ConsistOf(HaveField("Name", "second-run")))

	hang = false
	s := w.settle("run")
	w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonSnapshotNotFound))
	w.Expect(s.Status.Targets[0].Message).To(Equal("Snapshot uploads-run was deleted during the run"))
	w.Expect(w.snapshots()).To(ConsistOf(HaveField("Status.Phase", v1alpha1.SnapshotSucceeded)),
		"the other repository has its backup")
}
