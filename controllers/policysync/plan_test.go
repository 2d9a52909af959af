package policysync

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// An object that policy drops, and that the account may no longer read, holds up nothing that goes before.
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
		"policy/a.yaml": storage("a"), "policy/x.yaml": storage("x"),
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
	r.reconcile()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "b")).To(BeTrue(), "%s: %s",
		conditions.GetReason(r.sync, meta.ReadyCondition), conditions.GetMessage(r.sync, meta.ReadyCondition))
	r.expectNotReady(v1alpha1.ReasonForbidden, "get Namespace/"+r.namespace+"-b")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeFalse(), "it could be read")
}

// Reading one stale object fails.
func TestAStaleObjectHoldsUpOnlyItself(t *testing.T) {
	for name, prune := range map[string]bool{"prune": true, "no prune": false} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(all)
			r.reconcile()
			r.update(func(p *v1alpha1.PolicySync) { p.Spec.Prune = prune })
			r.api.refuse = func(req *http.Request) bool {
				return req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/backupstorages/b")
			}
			revision := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/d.yaml": storage("d")})
			r.reconcile()
			r.api.refuse = nil
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "d")).To(BeTrue(), "the revision is applied")
			r.g.Expect(r.there()).To(Equal(map[bool]string{true: "ab", false: "abc"}[prune]))
			if prune {
				r.expectNotReady(v1alpha1.ReasonPruneFailed, "get BackupStorage/"+r.namespace+"/b")
				r.reconcile()
				r.g.Expect(r.there()).To(Equal("a"))
			}
			r.expectReady(revision)
		})
	}
}

// A commit drops an object and what it can need to go, as a Ledger needs its Secret and an account its role. Reading
// the first fails once.
func TestWhatAnUnreadStaleObjectNeedsStays(t *testing.T) {
	r := asDeployer(t)
	r.begins(map[string]string{
		"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b"),
		"policy/w.yaml": configuration("web", "0 2 * * *"),
		"policy/s.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n",
		"policy/r.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: deploys}\nrules: []\n",
	})
	r.api.refuse = func(req *http.Request) bool {
		return req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/backupstorages/b")
	}
	revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.api.refuse = nil
	r.expectNotReady(v1alpha1.ReasonPruneFailed, "get BackupStorage/"+r.namespace+"/b")
	r.g.Expect(r.exists(&v1alpha1.BackupConfiguration{}, "web")).To(BeFalse(), "it goes before b")
	r.g.Expect(r.exists(&corev1.ConfigMap{}, "settings")).To(BeTrue(), "b can need it")
	r.g.Expect(r.exists(&rbacv1.Role{}, "deploys")).To(BeTrue(), "b can need it")
	r.reconcile()
	r.expectReady(revision)
	for name, object := range map[string]client.Object{
		"b": &v1alpha1.BackupStorage{}, "settings": &corev1.ConfigMap{}, "deploys": &rbacv1.Role{},
	} {
		r.g.Expect(r.exists(object, name)).To(BeFalse(), name)
	}
}

// A commit moves an object with backups to the path of another PolicySync, or drops it. The removal waits for a consent
// when the other one takes the object over, or when somebody deletes it by hand.
func TestWhatIsGoneOrOfOthersBlocksNothing(t *testing.T) {
	for name, leaves := range map[string]func(*testNamespace, client.Object){
		"it belongs to another": func(r *testNamespace, x client.Object) {
			other := &v1alpha1.PolicySync{}
			other.Namespace, other.Name, other.Spec = r.namespace, "other", *r.sync.Spec.DeepCopy()
			r.g.Expect(client.IgnoreAlreadyExists(r.Create(r.t.Context(), other))).To(Succeed())
			x.GetLabels()[v1alpha1.LabelSyncName] = "other" // the other one has applied it
			r.g.Expect(r.Update(r.t.Context(), x)).To(Succeed())
		},
		"somebody deletes it by hand": func(r *testNamespace, x client.Object) {
			r.g.Expect(r.Client.Delete(r.t.Context(), x)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := asDeployer(t)
			settings := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
			r.begins(map[string]string{
				"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b"), "policy/x.yaml": wiping("x", r.namespace),
				"policy/c.yaml": settings,
			})
			revision := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "/x")
			for name, object := range map[string]client.Object{
				"x": &v1alpha1.BackupStorage{}, "settings": &corev1.ConfigMap{},
			} {
				r.g.Expect(r.exists(object, name)).To(BeTrue(), name)
				leaves(r, object)
			}
			r.clock.Step(driftInterval)
			r.reconcile()
			r.expectReady(revision) // nothing is left that this PolicySync could delete
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(2))
			revision = r.push(map[string]string{"policy/a.yaml": storage("a")})
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "b")).To(BeFalse(), "an ordinary removal")
		})
	}
}

// A commit drops a configuration with its backups, and a storage that a Repository of another namespace uses.
func TestAConsentNamesNothingThatStaysInUse(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{
		"policy/a.yaml": storage("a"), "policy/u.yaml": storage("used"),
		"policy/w.yaml": strings.Replace(configuration("web", "0 2 * * *"), "encryptionSecret: {name: enc}",
			"encryptionSecret: {name: enc}, deletionPolicy: WipeOut", 1),
	})
	r.reconcile()
	other := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: bed.Namespace(t, nil), Name: "web"},
		Spec: v1alpha1.RepositorySpec{
			AppRef:           v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef:       v1alpha1.ObjectReference{Namespace: r.namespace, Name: "used"},
			Path:             "/x",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	}
	r.g.Expect(r.Create(t.Context(), other)).To(Succeed())
	other.Status.InitializedSpec = "x"
	r.g.Expect(r.Status().Update(t.Context(), other)).To(Succeed())
	r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "/web were not deleted")
	r.g.Expect(r.sync.Status.Removal.Objects).To(ConsistOf("BackupConfiguration/" + r.namespace + "/web"))
}
