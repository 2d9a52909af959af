package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// TestTheUsagePolicyOfAStorageIsAskedBeforeTheJob changes the usagePolicy after the restore was frozen, when it allowed
// all namespaces.
func TestTheUsagePolicyOfAStorageIsAskedBeforeTheJob(t *testing.T) {
	t.Parallel()
	for name, c := range sessiontest.Usages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Killer = &sessiontest.Killer{At: 3}
			w.restore("restore")
			w.Reconcile("restore")
			w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
			storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
				Namespace: w.Storage,
				Name:      sessiontest.StorageName,
			}}
			bed.Edit(t, storage, func() { storage.Spec.UsagePolicy = c.Policy(w.Namespace) })
			s := w.settle("restore")
			if c.Allowed() {
				w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), ending(s))
				return
			}
			w.Expect(ending(s)).To(Equal("Failed/" + c.Reason))
			w.Expect(s.Status.Conditions).To(ContainElement(
				HaveField("Message", ContainSubstring(c.Says(w.Storage, w.Namespace)))))
			w.Expect(w.Jobs()).To(BeEmpty(), "nothing is written")
		})
	}
}
