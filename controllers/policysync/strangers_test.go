package policysync

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A Repository of another namespace that was never initialised has no data to lose: whoever makes one cannot keep a
// Secret that policy removes, such as a leaked key.
func TestARepositoryOfAStrangerKeepsNoSecret(t *testing.T) {
	r := asDeployer(t)
	leaked := "apiVersion: v1\nkind: Secret\nmetadata: {name: leaked}\nstringData: {password: x}\n"
	r.begins(map[string]string{
		"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b"), "policy/e.yaml": leaked,
	})
	stranger := bed.Namespace(t, nil)
	r.g.Expect(r.Create(t.Context(), &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: stranger, Name: "mine"},
		Spec: v1alpha1.RepositorySpec{
			AppRef:           v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef:       v1alpha1.ObjectReference{Namespace: r.namespace, Name: "b"},
			Path:             "/x",
			EncryptionSecret: v1alpha1.ObjectReference{Namespace: r.namespace, Name: "leaked"},
		},
	})).To(Succeed())
	r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "b")).To(BeFalse())
	r.g.Expect(r.exists(&corev1.Secret{}, "leaked")).To(BeFalse(), "Ready=%v: %s",
		conditions.IsReady(r.sync), conditions.GetMessage(r.sync, meta.ReadyCondition))
}

// An object that policy drops, and that the account may no longer read, holds up nothing else.
func TestAStaleObjectThatCantBeReadHoldsUpNoOther(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })
	all := []string{"*"}
	r.allow("deployer", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.Group}, Resources: all, Verbs: all})
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: r.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "deployer", Namespace: r.namespace}},
	}
	r.g.Expect(r.Create(t.Context(), binding)).To(Succeed())
	r.begins(map[string]string{
		"policy/a.yaml": storage("a"),
		"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + r.namespace + "-b}\n",
	})
	r.g.Expect(r.Delete(t.Context(), binding)).To(Succeed())
	a, f := (&reconciling{Reconciler: r.Reconciler, obj: r.sync}).applier(t.Context())
	r.g.Expect(f).To(BeNil())
	r.g.Eventually(func() bool {
		err := a.client.Get(t.Context(), types.NamespacedName{Name: r.namespace + "-b"}, &corev1.Namespace{})
		return apierrors.IsForbidden(err)
	}, testbed.Patience, "100ms").Should(BeTrue(), "the account lost its role")
	r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
	for range 3 {
		r.reconcile()
		r.clock.Step(driftInterval)
	}
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "b")).To(BeTrue(), "%s: %s",
		conditions.GetReason(r.sync, meta.ReadyCondition), conditions.GetMessage(r.sync, meta.ReadyCondition))
}
