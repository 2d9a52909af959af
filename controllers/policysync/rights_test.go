package policysync

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// asManager returns the access of the manager's ServiceAccount, with a token of its own and the shipped ClusterRole.
func asManager(t *testing.T) *rest.Config {
	t.Helper()
	g := NewWithT(t)
	at := metav1.ObjectMeta{Namespace: "cairn-system", Name: "cairn-manager"}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: at.Namespace}}, &corev1.ServiceAccount{ObjectMeta: at},
	} {
		if err := bed.Client.Create(t.Context(), o); !apierrors.IsAlreadyExists(err) {
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	token := &authenticationv1.TokenRequest{}
	g.Expect(bed.Client.SubResource("token").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: at}, token)).
		To(Succeed())
	config := rest.AnonymousClientConfig(bed.Config)
	config.BearerToken = token.Status.Token
	return config
}

// with gives the room's reconciler the access of config.
func (r *testNamespace) with(config *rest.Config) {
	r.t.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: bed.Client.RESTMapper()})
	r.g.Expect(err).NotTo(HaveOccurred())
	r.g.Eventually(func() error { return c.Get(r.t.Context(), client.ObjectKeyFromObject(r.sync), r.sync) },
		testbed.Patience, "100ms").Should(Succeed(), "the rights are in force")
	r.RESTConfig, r.Client, r.APIReader = config, c, c
}

// TestAPolicySyncActsOnlyAsAnAccountThatWasMadeForIt lets the manager, with its shipped rights, act for a PolicySync
// that names the account of somebody else, who never meant it for Cairn.
func TestAPolicySyncActsOnlyAsAnAccountThatWasMadeForIt(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })
	all := []string{"*"}
	for _, name := range []string{"deployer", v1alpha1.PolicyServiceAccount} {
		r.allow(name, rbacv1.PolicyRule{APIGroups: all, Resources: all, Verbs: all})
	}
	revision := r.push(map[string]string{
		"policy/s.yaml": storage("local"),
		"policy/e.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: enc}\nstringData: {password: x}\n",
	})
	r.with(asManager(t))
	eventually := func() AsyncAssertion { // the API server's authorizer learns of roles with a delay
		return r.g.Eventually(func() string {
			r.reconcile()
			return conditions.GetReason(r.sync, meta.ReadyCondition)
		}, testbed.Patience, "100ms")
	}
	eventually().Should(Equal(v1alpha1.ReasonImpersonationForbidden), "deployer was not made for Cairn")
	r.expectNotReady(v1alpha1.ReasonImpersonationForbidden, "ServiceAccount deployer: set spec.serviceAccountName to "+
		"cairn-policy and give that account the rights")
	r.g.Expect(conditions.IsStalled(r.sync)).To(BeTrue())
	r.g.Expect(r.exists(&corev1.Secret{}, "enc")).To(BeFalse())

	// An account that can be read, and not be acted as, is told apart from what an account is not allowed to do.
	at := metav1.ObjectMeta{Namespace: r.namespace, Name: "readable"}
	readable := &rbacv1.Role{
		ObjectMeta: at,
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"get"},
		}},
	}
	r.g.Expect(bed.Client.Create(t.Context(), readable)).To(Succeed())
	r.g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: at,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: at.Name},
		Subjects: []rbacv1.Subject{{
			Kind: rbacv1.ServiceAccountKind, Namespace: "cairn-system", Name: "cairn-manager",
		}},
	})).To(Succeed())
	r.g.Eventually(func() error {
		return r.Client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "deployer"},
			&corev1.ServiceAccount{})
	}, testbed.Patience, "100ms").Should(Succeed(), "the right to read it is in force")
	r.clock.Step(driftInterval) // a fault that stalls is looked at again then
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonImpersonationForbidden, "the ServiceAccount of spec.serviceAccountName: set")

	bed.Edit(t, r.sync, func() { r.sync.Spec.ServiceAccountName = v1alpha1.PolicyServiceAccount })
	eventually().Should(Equal(v1alpha1.ReasonReconcileSucceeded), "the owner of the namespace made it for that")
	r.expectReady(revision)
	r.g.Expect(r.exists(&corev1.Secret{}, "enc")).To(BeTrue())
}

// TestWhatAnAccountMayNotDoIsNotTheManagersFault tells the two refusals apart.
func TestWhatAnAccountMayNotDoIsNotTheManagersFault(t *testing.T) {
	g := NewWithT(t)
	manager, err := client.New(asManager(t), client.Options{Scheme: scheme, Mapper: bed.Client.RESTMapper()})
	g.Expect(err).NotTo(HaveOccurred())
	namespace := bed.Namespace(t, nil)
	own := manager.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "x"},
		&corev1.Node{})
	g.Expect(apierrors.IsForbidden(own)).To(BeTrue(), "%v", own)
	g.Expect(refusesImpersonation(own)).To(BeFalse())
	config := asManager(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":deployer"}
	deployer, err := client.New(config, client.Options{Scheme: scheme, Mapper: bed.Client.RESTMapper()})
	g.Expect(err).NotTo(HaveOccurred())
	for _, o := range []client.Object{&corev1.ConfigMap{}, &corev1.ServiceAccount{}, &v1alpha1.BackupStorage{}} {
		err = deployer.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "x"}, o)
		g.Expect(refusesImpersonation(err)).To(BeTrue(), "%v", err)
	}
}
