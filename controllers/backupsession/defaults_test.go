package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// nothingButTheTarget removes from a policy everything that Cairn can infer.
func nothingButTheTarget(c *v1alpha1.BackupConfiguration) {
	c.Spec.Backends = nil
	c.Spec.Sessions[0].Addon, c.Spec.Sessions[0].Repositories = nil, nil
}

func TestTheSmallestPolicyIsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration(nothingButTheTarget)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	target := s.Status.Resolved.Targets[0]
	w.Expect(target.Task.Addon).To(Equal("pvc-addon"))
	w.Expect(target.Task.Task).To(Equal("logical-backup"))
	w.Expect(target.Repositories).To(HaveLen(1))
	w.Expect(target.Repositories[0].Name).To(Equal("uploads"))
	w.Expect(target.Repositories[0].StorageRef).
		To(Equal(v1alpha1.ObjectReference{Namespace: w.Storage, Name: sessiontest.StorageName}),
			"the storage of the Repository")
}

func TestAPolicyThatCanNotBeCompletedIsWaitedForAndThenRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration(nothingButTheTarget, func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Sessions[0].Repositories = []v1alpha1.RepositoryInfo{{Name: "other"}}
	})
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Phase).To(Equal(v1alpha1.BackupSessionPending))
	w.Clock.SetTime(w.Clock.Now().Add(2 * run.WaitForRepository))
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Failed/StorageNotFound", "uploads: Failed/StorageNotFound"}))
	w.Expect(s.Status.Targets[0].Message).
		To(Equal("spec.sessions[0].repositories[0].backend: policy names no BackupStorage, and there is no default " +
			"BackupStorage that the namespace " + w.Namespace +
			" can use: name one in spec.backends, or set spec.default: true on one"))
	w.Expect(w.Jobs()).To(BeEmpty())
}
