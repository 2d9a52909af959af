package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// TestTheUsagePolicyOfAStorageIsAskedBeforeTheJobs changes the usagePolicy after the run was frozen, when it allowed
// all namespaces.
func TestTheUsagePolicyOfAStorageIsAskedBeforeTheJobs(t *testing.T) {
	t.Parallel()
	for name, c := range sessiontest.Usages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configuration()
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Killer = &sessiontest.Killer{At: 3}
			w.Reconcile("run") // This freezes the run and creates no Job.
			w.Expect(w.Jobs()).To(BeEmpty())
			storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
				Namespace: w.Storage,
				Name:      sessiontest.StorageName,
			}}
			bed.Edit(t, storage, func() { storage.Spec.UsagePolicy = c.Policy(w.Namespace) })
			s := w.settle("run")
			if c.Allowed() {
				w.Expect(s.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%v", summary(s))
				return
			}
			w.Expect(summary(s)).To(HaveLen(2))
			w.Expect(summary(s)[1]).To(Equal("uploads: Failed/" + c.Reason))
			w.Expect(s.Status.Targets[0].Message).To(ContainSubstring(c.Says(w.Storage, w.Namespace)))
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
}
