package backupconfiguration

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A Repository that policy no longer names stays and is listed, also after the deletion of a policy that wipes.
func TestARepositoryThatPolicyNoLongerNamesStays(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*v1alpha1.BackupConfiguration){
		"another repository": func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Sessions[0].Repositories[0].Name, c.Spec.Sessions[0].Repositories[0].Directory = "new", "/new"
		},
		"another session": func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Sessions[0].Name = "other"
			c.Spec.Sessions[0].Repositories[0].Name, c.Spec.Sessions[0].Repositories[0].Directory = "new", "/new"
		},
		"another backend": func(c *v1alpha1.BackupConfiguration) {
			c.Spec.Backends[0].Name, c.Spec.Sessions[0].Repositories[0].Backend = "away", "away"
			c.Spec.Sessions[0].Repositories[0].Name, c.Spec.Sessions[0].Repositories[0].Directory = "away", "/away"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			configuration, repository := leavingWith(t, v1alpha1.WipeOutRepository)
			bed.Edit(t, configuration, func() { edit(configuration) })
			bed.Eventually(t, configuration, func(g Gomega) {
				g.Expect(configuration.Status.Retained).To(Equal([]v1alpha1.RetainedRepository{{
					Name: "uploads", AppRef: *configuration.Spec.Target, Reason: v1alpha1.ReasonRepositoryLeft,
				}}))
				g.Expect(configuration.Status.RetainedCount).To(BeEquivalentTo(1))
				g.Expect(conditions.IsTrue(configuration, v1alpha1.ConditionRepositoriesRetained)).To(BeTrue())
			}, "the status lists it")
			deleteAndWait(t, configuration)
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
			g.Expect(repository.DeletionTimestamp).To(BeNil())
			events.Eventually(t, configuration.Namespace,
				ContainElement(HavePrefix("Warning DataKept Cairn keeps these Repositories and the backups in them")))
		})
	}
}

// A Repository from before the labels is listed, too: its policy names itself on it while it uses it.
func TestARepositoryWithoutAPolicyGetsItsName(t *testing.T) {
	t.Parallel()
	configuration, repository := leavingWith(t, v1alpha1.RetainRepository)
	NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	bed.Edit(t, repository, func() {
		delete(repository.Labels, v1alpha1.LabelInvokerKind)
		delete(repository.Labels, v1alpha1.LabelInvokerName)
	})
	bed.Eventually(t, repository, func(g Gomega) {
		g.Expect(repository.Labels).To(HaveKeyWithValue(v1alpha1.LabelInvokerName, configuration.Name))
	}, "it names its policy")
}

// A child of a batch from before never wipes: it goes when its target leaves the batch.
func TestAChildThatSaysWipeOutWipesNothing(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration, repository := leavingWith(t, v1alpha1.WipeOutRepository)
	bed.Edit(t, configuration, func() {
		configuration.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupBatchKind, Name: "shop", UID: "1",
			Controller: new(true),
		}}
		configuration.Finalizers = append(configuration.Finalizers, v1alpha1.FinalizerRepositories)
	})
	deleteAndWait(t, configuration)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.DeletionTimestamp).To(BeNil())
	g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
}
