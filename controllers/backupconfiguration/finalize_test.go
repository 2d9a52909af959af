package backupconfiguration

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// leavingWith returns a Ready configuration whose Repository has this deletionPolicy.
func leavingWith(
	t testing.TB, policy v1alpha1.RepositoryDeletionPolicy,
) (*v1alpha1.BackupConfiguration, *v1alpha1.Repository) {
	t.Helper()
	configuration := working(t)
	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].Repositories[0].DeletionPolicy = policy })
	if policy != v1alpha1.RetainRepository {
		bed.Eventually(t, configuration, func(g Gomega) {
			g.Expect(configuration.Finalizers).To(ContainElement(v1alpha1.FinalizerRepositories))
		}, "the finalizer holds the configuration")
	}
	return configuration,
		&v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: configuration.Namespace, Name: "uploads"}}
}

// deleteAndWait deletes an object and waits until it is gone.
func deleteAndWait(t testing.TB, o client.Object) {
	t.Helper()
	NewWithT(t).Expect(bed.Client.Delete(t.Context(), o)).To(Succeed())
	NewWithT(t).Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), "the configuration is gone")
}

func TestRepositoriesGoWithTheirConfigurationWhereItSaysSo(t *testing.T) {
	t.Parallel()
	for policy, want := range map[v1alpha1.RepositoryDeletionPolicy]v1alpha1.DeletionPolicy{
		v1alpha1.RetainRepository: "", v1alpha1.DeleteRepository: v1alpha1.DeleteObjects,
		v1alpha1.WipeOutRepository: v1alpha1.WipeOut,
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			configuration, repository := leavingWith(t, policy)
			deleteAndWait(t, configuration)
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).
				To(Succeed(), "its own finalizer holds it")
			if policy == v1alpha1.RetainRepository {
				g.Expect(repository.DeletionTimestamp).To(BeNil())
				return
			}
			g.Expect(repository.DeletionTimestamp).NotTo(BeNil())
			g.Expect(repository.Spec.DeletionPolicy).To(Equal(want))
		})
	}
}

func TestAConfigurationThatKeepsItsRepositoriesIsNotHeld(t *testing.T) {
	t.Parallel()
	configuration, _ := leavingWith(t, v1alpha1.WipeOutRepository)
	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[0].Repositories[0].DeletionPolicy = v1alpha1.RetainRepository
	})
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Finalizers).NotTo(ContainElement(v1alpha1.FinalizerRepositories))
	}, "nothing goes with it any more")
}

func TestARepositoryThatAnotherConfigurationUsesStays(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration, repository := leavingWith(t, v1alpha1.WipeOutRepository)
	other := configurationOf(configuration.Namespace)
	other.Name = "other"
	bed.Create(t, other)
	bed.ExpectReason(t, other, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	deleteAndWait(t, configuration)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.DeletionTimestamp).To(BeNil())
}

// Deleting a namespace never wipes data.
func TestNothingGoesWithANamespace(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration, repository := leavingWith(t, v1alpha1.WipeOutRepository)
	g.Expect(bed.Client.Delete(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: configuration.Namespace}})).To(Succeed())
	deleteAndWait(t, configuration)
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.DeletionTimestamp).To(BeNil(),
		"the namespace controller deletes the Repository, the policy does not")
	g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
	events.Eventually(t, configuration.Namespace,
		ContainElement("Warning DataKept Cairn removes no data: the namespace is being deleted"))
}

func TestTheRetentionPolicyOfABackend(t *testing.T) {
	t.Parallel()
	configuration := working(t)
	expect := func(found bool, reason string) {
		t.Helper()
		bed.Eventually(t, configuration, func(g Gomega) {
			use := configuration.Status.Backends[0].RetentionPolicy
			g.Expect(use).NotTo(BeNil())
			g.Expect(use.Ref.Name).To(Equal("keep"))
			g.Expect(*use.Found).To(Equal(found))
			g.Expect(use.Reason).To(Equal(reason))
		}, reason)
	}
	bed.Edit(t, configuration,
		func() { configuration.Spec.Backends[0].RetentionPolicy = &v1alpha1.ObjectReference{Name: "keep"} })
	expect(false, v1alpha1.ReasonRetentionPolicyNotFound)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonRetentionPolicyNotFound,
		"RetentionPolicy "+configuration.Namespace+"/keep does not exist: backups go on, and everything is kept")
	bed.Create(t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: configuration.Namespace, Name: "keep"},
		Spec:       v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "30d"},
	})
	expect(true, "")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")

	elsewhere := bed.Namespace(t, nil)
	bed.Create(t, &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "keep"},
		Spec:       v1alpha1.RetentionPolicySpec{MaxRetentionPeriod: "30d"},
	})
	bed.Edit(t, configuration, func() {
		configuration.Spec.Backends[0].RetentionPolicy = &v1alpha1.ObjectReference{Namespace: elsewhere, Name: "keep"}
	})
	expect(true, v1alpha1.ReasonRetentionPolicyNotAllowed)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonRetentionPolicyNotAllowed,
		"the usagePolicy of RetentionPolicy "+elsewhere+"/keep does not allow")
}
