package policysync

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func TestObjectsOfOthersAreNotTouched(t *testing.T) {
	for name, tc := range map[string]struct {
		labels map[string]string
		owner  string
		says   string
	}{
		"another PolicySync": {
			labels: map[string]string{v1alpha1.LabelSyncName: "another"}, says: "belongs to PolicySync/",
		},
		"Flux": {labels: map[string]string{
			"kustomize.toolkit.fluxcd.io/name":      "apps",
			"kustomize.toolkit.fluxcd.io/namespace": "flux-system",
		}, says: "belongs to Flux's flux-system/apps"},
		"a controller": {owner: "shop", says: "belongs to BackupBatch/shop"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			another := r.sync.DeepCopy()
			another.ObjectMeta = metav1.ObjectMeta{Name: "another", Namespace: r.namespace}
			r.g.Expect(r.Create(t.Context(), another)).To(Succeed())
			s := &v1alpha1.BackupStorage{
				ObjectMeta: metav1.ObjectMeta{Name: "local", Namespace: r.namespace, Labels: tc.labels},
			}
			if tc.labels[v1alpha1.LabelSyncName] != "" {
				s.Labels[v1alpha1.LabelSyncNamespace] = r.namespace
			}
			if tc.owner != "" {
				yes := true
				s.OwnerReferences = []metav1.OwnerReference{{
					APIVersion: v1alpha1.GroupVersion.String(),
					Kind:       v1alpha1.BackupBatchKind, Name: tc.owner, UID: "1", Controller: &yes,
				}}
			}
			s.Spec.Storage = v1alpha1.Storage{
				Provider: v1alpha1.ProviderLocal,
				Local: &v1alpha1.LocalStorage{
					PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "theirs"},
				},
			}
			r.g.Expect(r.Create(t.Context(), s)).To(Succeed())
			r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/t.yaml": storage("free")})
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonOwnedByOther, tc.says)
			r.g.Expect(r.exists(s, "local")).To(BeTrue())
			r.g.Expect(s.Spec.Storage.Local.PersistentVolumeClaim.ClaimName).To(Equal("theirs"))
			r.g.Expect(r.exists(s, "free")).To(BeFalse(), "nothing of the revision is applied")
		})
	}
}

func TestAnObjectOfAPolicySyncThatIsGoneIsTakenOver(t *testing.T) {
	r := newRoom(t)
	s := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
		Name: "local", Namespace: r.namespace,
		Labels: map[string]string{v1alpha1.LabelSyncName: "gone", v1alpha1.LabelSyncNamespace: r.namespace},
	}}
	s.Spec.Storage = v1alpha1.Storage{
		Provider: v1alpha1.ProviderLocal,
		Local:    &v1alpha1.LocalStorage{PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "old"}},
	}
	r.g.Expect(r.Create(t.Context(), s)).To(Succeed())
	revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(s.Labels[v1alpha1.LabelSyncName]).To(Equal("policy"))
}

// allow creates a ServiceAccount that is allowed to do everything with some resources of the room.
func (r *testNamespace) allow(account string, rules ...rbacv1.PolicyRule) {
	r.t.Helper()
	at := metav1.ObjectMeta{Name: account, Namespace: r.namespace}
	r.g.Expect(r.Create(r.t.Context(), &corev1.ServiceAccount{ObjectMeta: at})).To(Succeed())
	r.g.Expect(r.Create(r.t.Context(), &rbacv1.Role{ObjectMeta: at, Rules: rules})).To(Succeed())
	r.g.Expect(r.Create(r.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: at,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: r.namespace}},
	})).To(Succeed())
}

func TestImpersonation(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })
	cm := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n"
	first := r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/cm.yaml": cm})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonServiceAccountAbsent, "does not exist")

	all := []string{"*"}
	r.allow("deployer", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.Group}, Resources: all, Verbs: all})
	r.g.Eventually(func() string { // the API server's authorizer learns of a role with a delay
		r.reconcile()
		return conditions.GetMessage(r.sync, meta.ReadyCondition)
	}, testbed.Patience, "100ms").Should(ContainSubstring(`cannot get resource "configmaps"`))
	r.expectNotReady(v1alpha1.ReasonForbidden, "")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeFalse())

	role := &rbacv1.Role{}
	r.g.Expect(r.exists(role, "deployer")).To(BeTrue())
	role.Rules = append(role.Rules, rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"configmaps"},
		Verbs: all,
	})
	r.g.Expect(r.Update(t.Context(), role)).To(Succeed())
	r.g.Eventually(func() string {
		r.reconcile()
		return r.sync.Status.LastAppliedRevision
	}, testbed.Patience, "100ms").Should(Equal(first))
	r.expectReady(first)
	r.g.Expect(r.exists(&corev1.ConfigMap{}, "settings")).To(BeTrue())

	r.push(map[string]string{
		"policy/s.yaml": storage("local"), "policy/cm.yaml": cm,
		"policy/other.yaml": strings.Replace(cm, "name: settings", "name: x, namespace: default", 1),
	})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonForbidden, `in the namespace "default"`)
}

func TestRightsAndNamespacesComeFirst(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "admin" })
	at := metav1.ObjectMeta{Name: r.namespace + "-admin"}
	r.g.Expect(r.Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "admin", Namespace: r.namespace}})).To(Succeed())
	r.g.Expect(r.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: at,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "admin", Namespace: r.namespace}},
	})).To(Succeed())
	other := r.namespace + "-other"
	revision := r.push(map[string]string{
		"policy/a.yaml":  strings.Replace(storage("local"), "name: local", "name: local, namespace: "+other, 1),
		"policy/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + other + "}\n",
		"policy/sa.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: enc, namespace: " + other +
			"}\nstringData: {password: x}\n",
	})
	r.g.Eventually(func() string {
		r.reconcile()
		return conditions.GetReason(r.sync, meta.ReadyCondition)
	}, testbed.Patience, "100ms").Should(Equal(v1alpha1.ReasonReconcileSucceeded), "once the binding is known")
	r.expectReady(revision)
	r.g.Expect(r.Get(t.Context(), types.NamespacedName{Namespace: other, Name: "local"}, &v1alpha1.BackupStorage{})).
		To(Succeed())
	r.clock.Step(driftInterval)
	writes := r.api.writes()
	r.reconcile()
	r.g.Expect(r.api.writes()).To(Equal(writes), "stringData is not seen as drift again and again")
}

func TestPruneOrder(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })
	all := []string{"*"}
	r.allow("deployer", rbacv1.PolicyRule{APIGroups: all, Resources: all, Verbs: all})
	repository := "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: web}\nspec: {appRef: " +
		"{kind: PersistentVolumeClaim, name: web}, storageRef: {name: local}, path: /web, encryptionSecret: {name: " +
		"enc}}\n"
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: enc}\nstringData: {password: x}\n"
	stays := map[string]string{"policy/stays.yaml": storage("stays")}
	r.push(map[string]string{
		"policy/stays.yaml": storage("stays"), "policy/s.yaml": storage("local"),
		"policy/r.yaml": repository, "policy/e.yaml": secret, "policy/c.yaml": configuration("web", "0 2 * * *"),
	})
	r.g.Eventually(func() string {
		r.reconcile()
		return conditions.GetReason(r.sync, meta.ReadyCondition)
	}, testbed.Patience, "100ms").Should(Equal(v1alpha1.ReasonReconcileSucceeded), "once the role is known")

	var mu sync.Mutex
	var deleted []string
	began := make(chan struct{})
	r.api.refuse = func(req *http.Request) bool {
		if req.Method == http.MethodDelete {
			mu.Lock()
			defer mu.Unlock()
			parts := strings.Split(req.URL.Path, "/")
			if deleted = append(deleted, parts[len(parts)-2]); len(deleted) == 1 {
				close(began)
			}
		}
		return false
	}
	// A finalizer on the first class holds the others back.
	c := &v1alpha1.BackupConfiguration{}
	r.g.Expect(r.exists(c, "web")).To(BeTrue())
	c.Finalizers = []string{"example.org/hold"}
	r.g.Expect(r.Update(t.Context(), c)).To(Succeed())
	revision := r.push(stays)
	released := make(chan error, 1)
	go func() {
		<-began
		patch := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`))
		released <- r.Client.Patch(t.Context(), c, patch)
	}()
	r.reconcile()
	r.g.Expect(<-released).To(Succeed())
	r.expectReady(revision)
	// The patch can change the first one before it is deleted. Then Cairn looks again, and deletes it once more.
	r.g.Expect(slices.Compact(deleted)).
		To(Equal([]string{"backupconfigurations", "repositories", "backupstorages", "secrets"}))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
}

func TestAStorageInUseIsKept(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/a.yaml": storage("local"), "policy/b.yaml": storage("other")})
	r.reconcile()
	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: r.namespace},
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef: v1alpha1.ObjectReference{Name: "local"},
			Path:       "/web", EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	}
	r.g.Expect(r.Create(t.Context(), repository)).To(Succeed())
	revision := r.push(map[string]string{"policy/b.yaml": storage("other")})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).
		To(ContainSubstring("not deleted: BackupStorage/" + r.namespace + "/local (Repository " + r.namespace +
			"/web uses it)"))
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeTrue())
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(2))

	r.g.Expect(r.Delete(t.Context(), repository)).To(Succeed())
	r.clock.Step(driftInterval)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeFalse())
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
}

func TestTheGuard(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
	r.reconcile()
	r.emitted()
	revision := r.push(map[string]string{"policy/c.yaml": storage("c")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "were not deleted")
	r.g.Expect(conditions.IsTrue(r.sync, v1alpha1.ConditionDeletionBlocked)).To(BeTrue())
	r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(revision), "the rest is applied")
	for _, name := range []string{"a", "b", "c"} {
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, name)).To(BeTrue())
	}
	removal := r.sync.Status.Removal
	r.g.Expect(removal.Count).To(Equal(int32(2)))
	r.g.Expect(removal.Objects).
		To(Equal([]string{"BackupStorage/" + r.namespace + "/a", "BackupStorage/" + r.namespace + "/b"}))
	r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).
		To(ContainSubstring(v1alpha1.AnnotationAllowDelete + "=" + removal.Digest))
	r.g.Expect(r.emitted()).To(ConsistOf(HavePrefix("Warning DeletionBlocked")))

	// The next revision still deletes nothing, nor does a new process, nor a consent to something else.
	r.push(map[string]string{"policy/c.yaml": storage("c"), "policy/d.yaml": storage("d")})
	r.passes = store[lastPass]{}
	r.update(func(p *v1alpha1.PolicySync) {
		p.Annotations = map[string]string{v1alpha1.AnnotationAllowDelete: digestOf(nil)}
	})
	r.reconcile()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(BeTrue())
	writes := r.api.writes()
	r.reconcile()
	r.g.Expect(r.api.writes()).To(Equal(writes))

	r.update(func(p *v1alpha1.PolicySync) { p.Annotations[v1alpha1.AnnotationAllowDelete] = removal.Digest })
	r.reconcile()
	r.g.Expect(conditions.IsReady(r.sync)).To(BeTrue())
	r.g.Expect(conditions.Has(r.sync, v1alpha1.ConditionDeletionBlocked)).To(BeFalse())
	r.g.Expect(r.sync.Status.Removal).To(BeNil())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(BeFalse())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "c")).To(BeTrue())
	r.conform()
}

func TestTheGuardLetsGoWhenTheObjectsComeBack(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.push(map[string]string{"policy/c.yaml": storage("c")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
	revision := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/c.yaml": storage("c")})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.sync.Status.Removal).To(BeNil())
}

// A revert brings back what was held back. What the reverted commit had brought needs a consent of its own.
func TestTheGuardStaysAfterARevert(t *testing.T) {
	r := newRoom(t)
	named := func(name string) string { return "BackupStorage/" + r.namespace + "/" + name }
	both := map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")}
	r.push(both)
	r.reconcile()
	r.push(map[string]string{"policy/c.yaml": storage("c")})
	r.reconcile()
	r.g.Expect(r.sync.Status.Removal.Objects).To(Equal([]string{named("a"), named("b")}))

	// A part of what is held back is no revert, and the bad commit can come again.
	r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "deletes only what you confirm")
	r.g.Expect(r.sync.Status.Removal.Objects).To(Equal([]string{named("b"), named("c")}))
	r.push(map[string]string{"policy/c.yaml": storage("c")})
	r.reconcile()
	r.g.Expect(r.sync.Status.Removal.Objects).To(Equal([]string{named("a"), named("b")}),
		"a consent names all that it deletes")

	revision := r.push(both)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, named("c"))
	r.update(func(p *v1alpha1.PolicySync) {
		p.Annotations = map[string]string{v1alpha1.AnnotationAllowDelete: r.sync.Status.Removal.Digest}
	})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.sync.Status.Removal).To(BeNil())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "c")).To(BeFalse())
	for _, name := range []string{"a", "b"} {
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, name)).To(BeTrue())
	}
}

// The bad commit comes again after its revert, and the object that it brought is in use: nothing is deleted.
func TestTheGuardHoldsABadCommitThatComesAgain(t *testing.T) {
	r := newRoom(t)
	both := map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")}
	bad := map[string]string{"policy/c.yaml": storage("c")}
	r.push(both)
	r.reconcile()
	r.push(bad)
	r.reconcile()
	r.g.Expect(r.Create(t.Context(), &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: r.namespace},
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef: v1alpha1.ObjectReference{Name: "c"}, Path: "/web",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	})).To(Succeed())
	r.push(both)
	r.reconcile()
	r.push(bad)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
	for _, name := range []string{"a", "b", "c"} {
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, name)).To(BeTrue())
	}
}

func TestDeletion(t *testing.T) {
	for policy, gone := range map[string]bool{
		v1alpha1.DeletionPolicyRetain: false, v1alpha1.DeletionPolicyDelete: true,
	} {
		t.Run(policy, func(t *testing.T) {
			r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.DeletionPolicy = policy })
			r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/c.yaml": configuration("web", "0 2 * * *")})
			r.reconcile()
			r.g.Expect(slices.Contains(r.sync.Finalizers, v1alpha1.FinalizerPrune)).To(BeTrue())
			r.g.Expect(r.Delete(t.Context(), r.sync)).To(Succeed())
			r.reconcile()
			r.g.Expect(r.exists(&v1alpha1.PolicySync{}, "policy")).To(BeFalse())
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(Equal(!gone))
			r.g.Expect(r.exists(&v1alpha1.BackupConfiguration{}, "web")).To(Equal(!gone))
		})
	}
}
