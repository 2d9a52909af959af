package backupconfiguration

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// allowing returns the usagePolicy that allows the namespaces with these labels.
func allowing(labels map[string]string) v1alpha1.UsagePolicy {
	return v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{
		From: new(v1alpha1.NamespacesFromSelector), Selector: &metav1.LabelSelector{MatchLabels: labels},
	}}
}

// Somebody who may edit policy in one namespace makes a storage and a RetentionPolicy there the default of others. Both
// are older than those of the administrators, and choose the victim by a selector.
func TestADefaultOfATenantIsNobodyElses(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	labels := map[string]string{"defaults": "victim"}
	admin, attacker, victim := bed.Administrator(t), bed.Namespace(t, nil), bed.Namespace(t, labels)
	tenant := bed.Tenant(t, attacker)
	trap := testbed.S3(attacker)
	trap.Spec.Default, trap.Spec.UsagePolicy = true, testbed.Usage(new(allowing(labels)))
	trap.Spec.EncryptionSecret = &v1alpha1.LocalObjectReference{Name: "enc"}
	g.Expect(tenant.Create(t.Context(), trap)).To(Succeed())
	bed.MarkReady(t, trap)
	g.Expect(tenant.Create(t.Context(), &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: attacker, Name: "nothing"},
		Spec: v1alpha1.RetentionPolicySpec{
			MaxRetentionPeriod: "1m", Default: true, UsagePolicy: new(allowing(labels)),
		},
	})).To(Succeed())
	testbed.ASecondLater(t, trap)
	defaultStorage(t, admin, labels)
	keep := &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: admin, Name: "keep"},
		Spec: v1alpha1.RetentionPolicySpec{
			MaxRetentionPeriod: "1y", Default: true, UsagePolicy: new(allowing(labels)),
		},
	}
	bed.Create(t, keep)
	bed.Cached(t, trap, keep)

	configuration := smallestOf(victim)
	bed.Create(t, testbed.Claim(victim, "uploads"), configuration)
	bed.ReadyRepositories(t, victim, "files")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	g.Expect(configuration.Status.Resolved.Backends).To(Equal([]v1alpha1.ResolvedBackend{{
		Name: "s3", StorageRef: v1alpha1.ObjectReference{Namespace: admin, Name: "s3"},
		RetentionPolicy: &v1alpha1.ObjectReference{Namespace: admin, Name: "keep"},
	}}), "status names the storage and the RetentionPolicy with their namespace")
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "files", Namespace: victim}}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.Spec.StorageRef.Namespace).To(Equal(admin), "the backups of the victim")
}
