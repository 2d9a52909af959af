package testbed

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ForbidClaims creates a quota that the present PersistentVolumeClaims of the namespace use up, and waits until it is
// in force.
func (b *Bed) ForbidClaims(t testing.TB, namespace, name string) {
	t.Helper()
	var claims corev1.PersistentVolumeClaimList
	NewWithT(t).Expect(b.Client.List(t.Context(), &claims, client.InNamespace(namespace))).To(Succeed())
	b.Forbid(t, namespace, name, "persistentvolumeclaims", len(claims.Items), Claim(namespace, "one-more"))
}

// Forbid creates a quota that the present objects of a resource use up, and waits until it is in force: the API server
// looks at quotas in a cache of its own. extra is an object that the quota refuses.
func (b *Bed) Forbid(t testing.TB, namespace, name, of string, present int, extra client.Object) {
	t.Helper()
	g := NewWithT(t)
	all := corev1.ResourceList{corev1.ResourceName(of): *resource.NewQuantity(int64(present), resource.DecimalSI)}
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ResourceQuotaSpec{Hard: all},
	}
	g.Expect(b.Client.Create(t.Context(), quota)).To(Succeed())
	quota.Status = corev1.ResourceQuotaStatus{Hard: all, Used: all}
	g.Expect(b.Client.Status().Update(t.Context(), quota)).To(Succeed())
	g.Eventually(func() bool {
		one := extra.DeepCopyObject().(client.Object)
		return apierrors.IsForbidden(b.Client.Create(t.Context(), one, client.DryRunAll))
	}, Patience, Interval).Should(BeTrue(), "the API server enforces the quota")
}
