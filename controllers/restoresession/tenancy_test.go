package restoresession

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/sessiontest"
)

// TestTheUsagePolicyOfAStorageIsAskedBeforeTheJob changes it after the restore was frozen, when it was open to all.
func TestTheUsagePolicyOfAStorageIsAskedBeforeTheJob(t *testing.T) {
	t.Parallel()
	usage := func(from v1alpha1.NamespacesFrom, name string) *v1alpha1.UsagePolicy {
		out := &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: ptr.To(from)}}
		if name != "" { // The API server labels each namespace with its name.
			out.AllowedNamespaces.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": name}}
		}
		return out
	}
	for name, c := range map[string]struct {
		usage   func(namespace string) *v1alpha1.UsagePolicy
		allowed bool
	}{
		"nothing said":       {func(string) *v1alpha1.UsagePolicy { return nil }, false},
		"All":                {func(string) *v1alpha1.UsagePolicy { return usage(v1alpha1.NamespacesFromAll, "") }, true},
		"Same":               {func(string) *v1alpha1.UsagePolicy { return usage(v1alpha1.NamespacesFromSame, "") }, false},
		"Selector":           {func(ns string) *v1alpha1.UsagePolicy { return usage(v1alpha1.NamespacesFromSelector, ns) }, true},
		"Selector of others": {func(string) *v1alpha1.UsagePolicy { return usage(v1alpha1.NamespacesFromSelector, "other") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Killer = &sessiontest.Killer{At: 3}
			w.restore("restore")
			w.Reconcile("restore")
			w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
			storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: w.Storage, Name: sessiontest.StorageName}}
			bed.Edit(t, storage, func() { storage.Spec.UsagePolicy = c.usage(w.Namespace) })
			s := w.settle("restore")
			if c.allowed {
				w.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), ending(s))
				return
			}
			w.Expect(ending(s)).To(Equal("Failed/StorageNotAllowed"))
			w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring(fmt.Sprintf(
				"the usagePolicy of BackupStorage %s/%s does not allow the namespace %s", w.Storage, sessiontest.StorageName, w.Namespace)))))
			w.Expect(w.Jobs()).To(BeEmpty(), "nothing is written")
		})
	}
}
