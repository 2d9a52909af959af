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
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

const passwordOf = "apiVersion: v1\nkind: Secret\nmetadata: {name: enc}\nstringData: {password: x}\n"

// asDeployer returns a room whose PolicySync applies as an account that may do anything.
func asDeployer(t *testing.T, change ...func(*v1alpha1.PolicySync)) *testNamespace {
	t.Helper()
	r := newRoom(t, append(change, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })...)
	r.allow("deployer")
	r.g.Expect(r.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: r.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "deployer", Namespace: r.namespace}},
	})).To(Succeed())
	return r
}

// begins applies files until the account's role is known.
func (r *testNamespace) begins(files map[string]string) {
	r.t.Helper()
	r.push(files)
	r.g.Eventually(func() string {
		r.reconcile()
		return conditions.GetReason(r.sync, meta.ReadyCondition)
	}, testbed.Patience, "100ms").Should(Equal(v1alpha1.ReasonReconcileSucceeded), "once the role is known")
}

// One commit moves an object from the path of one PolicySync to that of another. The first finds it stale before it
// belongs to the second.
func TestAMoveBetweenPolicySyncsDeletesNothing(t *testing.T) {
	wipeOut := func(name string) string {
		return storage(name) + "---\napiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: " +
			name + "-2}\nspec: {deletionPolicy: WipeOut, " +
			"storage: {provider: local, local: {persistentVolumeClaim: {claimName: other}}}}\n"
	}
	t.Run("with backups", func(t *testing.T) {
		r := newRoom(t)
		r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/x.yaml": wipeOut("x")})
		r.reconcile()
		revision := r.push(map[string]string{"policy/a.yaml": storage("a"), "other/x.yaml": wipeOut("x")})
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "deletionPolicy: WipeOut")
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x-2")).To(BeTrue(), "its backups would go with it")
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeTrue(), "nothing goes without the consent")
		r.consent(r.sync.Status.Removal.Digest)
		r.reconcile()
		r.expectReady(revision)
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x-2")).To(BeFalse())
	})
	t.Run("without backups", func(t *testing.T) {
		r := newRoom(t)
		r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/x.yaml": storage("x")})
		r.reconcile()
		revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
		r.reconcile()
		r.expectReady(revision)
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeFalse())
	})
	t.Run("a Namespace", func(t *testing.T) {
		r := asDeployer(t)
		name := r.namespace + "-b"
		file := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n"
		r.begins(map[string]string{"policy/a.yaml": storage("a"), "policy/n.yaml": file})
		r.push(map[string]string{"policy/a.yaml": storage("a"), "other/n.yaml": file})
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "Namespace/"+name)
		namespace := &corev1.Namespace{}
		r.g.Expect(r.Get(t.Context(), types.NamespacedName{Name: name}, namespace)).To(Succeed())
		r.g.Expect(namespace.DeletionTimestamp).To(BeNil())
	})
}

// wiping returns a storage that takes its backups along.
func wiping(name, namespace string) string {
	return "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: " + name + ", namespace: \"" +
		namespace + "\"}\nspec: {deletionPolicy: WipeOut, " +
		"storage: {provider: local, local: {persistentVolumeClaim: {claimName: other}}}}\n"
}

// A PolicySync with deletionPolicy: Delete takes along everything that it has applied.
func TestAPolicySyncIsNotRemovedWithoutConsent(t *testing.T) {
	r := asDeployer(t)
	child := "apiVersion: backup.cairn.dev/v1alpha1\nkind: PolicySync\nmetadata: {name: child}\nspec: {url: \"" +
		r.sync.Spec.URL + "\", path: ./child, prune: true, interval: 1m, deletionPolicy: Delete}\n"
	x := wiping("x", r.namespace)
	r.begins(map[string]string{"policy/a.yaml": storage("a"), "policy/child.yaml": child, "child/x.yaml": x})
	reconcileChild := func() {
		t.Helper()
		_, err := r.Reconcile(t.Context(), ctrl.Request{
			NamespacedName: types.NamespacedName{Namespace: r.namespace, Name: "child"},
		})
		r.g.Expect(err).NotTo(HaveOccurred())
	}
	reconcileChild()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeTrue(), "the child has applied it")

	r.ClassWait = 1
	revision := r.push(map[string]string{"policy/a.yaml": storage("a"), "child/x.yaml": x})
	r.reconcile()
	reconcileChild()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeTrue(), "its backups would go with it")
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "PolicySync/"+r.namespace+"/child")
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	reconcileChild()
	reconcileChild()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeFalse(), "somebody has consented")
	r.reconcile()
	r.expectReady(revision)
}

// A storage that a Repository uses stays. So does what is needed to read it.
func TestASecretThatARepositoryNeedsIsKept(t *testing.T) {
	files := func(namespace string) map[string]string {
		return map[string]string{
			"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n",
			"policy/e.yaml": passwordOf + "---\n" +
				"apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {AWS_ACCESS_KEY_ID: x}\n---\n" +
				"apiVersion: v1\nkind: Secret\nmetadata: {name: spare}\nstringData: {x: x}\n",
			"policy/s.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: s3}\n" +
				"spec: {storage: {provider: s3, s3: {bucket: bucket, endpoint: \"https://s3.example.com\", " +
				"secretName: key}}}\n",
		}
	}
	for name, deletes := range map[string]bool{"by a revision": false, "with the PolicySync": true} {
		t.Run(name, func(t *testing.T) {
			r := asDeployer(t, func(p *v1alpha1.PolicySync) { p.Spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
			all := files(r.namespace + "-b")
			all["policy/a.yaml"] = storage("a")
			r.begins(all)
			r.g.Expect(r.Create(t.Context(), &v1alpha1.Repository{
				ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web"},
				Spec: v1alpha1.RepositorySpec{
					AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
					StorageRef: v1alpha1.ObjectReference{Name: "s3"}, Path: "/web",
					EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
				},
			})).To(Succeed())
			if deletes {
				r.g.Expect(client.IgnoreNotFound(r.Client.Delete(t.Context(), r.sync))).To(Succeed())
			} else {
				r.push(map[string]string{"policy/a.yaml": storage("a")})
				r.reconcile()
				r.consent(r.sync.Status.Removal.Digest)
			}
			r.reconcile()
			for _, secret := range []string{"enc", "key"} {
				r.g.Expect(r.exists(&corev1.Secret{}, secret)).To(BeTrue(), secret)
			}
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "s3")).To(BeTrue())
			r.g.Expect(r.exists(&corev1.Secret{}, "spare")).To(BeFalse(), "nobody needs it")
			namespace := &corev1.Namespace{}
			err := r.Get(t.Context(), types.NamespacedName{Name: r.namespace + "-b"}, namespace)
			r.g.Expect(apierrors.IsNotFound(err) || !namespace.DeletionTimestamp.IsZero()).
				To(BeTrue(), "nothing stays in it")
			if !deletes {
				message := conditions.GetMessage(r.sync, meta.ReadyCondition)
				r.g.Expect(message).To(ContainSubstring("/enc (Repository " + r.namespace + "/web uses it)"))
				r.g.Expect(message).To(ContainSubstring("/key (BackupStorage " + r.namespace + "/s3 uses it)"))
			}
		})
	}
}

// A Namespace would take what is kept in it along.
func TestANamespaceWithWhatIsKeptStays(t *testing.T) {
	r := asDeployer(t)
	name := r.namespace + "-b"
	r.begins(map[string]string{
		"policy/a.yaml": storage("a"),
		"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n---\n" +
			"apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: kept, namespace: " + name +
			"}\nspec: {storage: {provider: local, local: {persistentVolumeClaim: {claimName: backups}}}}\n",
	})
	r.g.Expect(r.Create(t.Context(), &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "web"},
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef: v1alpha1.ObjectReference{Name: "kept"}, Path: "/web",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	})).To(Succeed())
	revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.expectReady(revision) // nobody is asked for a consent to what is not done
	namespace := &corev1.Namespace{}
	r.g.Expect(r.Get(t.Context(), types.NamespacedName{Name: name}, namespace)).To(Succeed())
	r.g.Expect(namespace.DeletionTimestamp).To(BeNil())
	r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(ContainSubstring("kept stays in it"))
}

// Another team takes over the Namespace: its file goes, and the policy in it stays in Git.
func TestANamespaceWithPolicyOfGitStays(t *testing.T) {
	r := asDeployer(t)
	name := r.namespace + "-b"
	inside := "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: inside, namespace: " +
		name + "}\nspec: {storage: {provider: local, local: {persistentVolumeClaim: {claimName: backups}}}}\n"
	spaces := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n---\n" +
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + r.namespace + "}\n"
	files := map[string]string{
		"policy/s.yaml": inside, "policy/n.yaml": spaces, "policy/x.yaml": wiping("x", r.namespace),
	}
	r.begins(files)
	delete(files, "policy/n.yaml")
	expectStays := func(revision string) {
		t.Helper()
		for _, name := range []string{name, r.namespace} {
			namespace := &corev1.Namespace{}
			r.g.Expect(r.Get(t.Context(), types.NamespacedName{Name: name}, namespace)).To(Succeed())
			r.g.Expect(namespace.DeletionTimestamp).To(BeNil(), "%s would take along what the revision has", name)
		}
		r.expectReady(revision)
		r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(And(
			ContainSubstring("Namespace/"+name+" (BackupStorage/"+name+"/inside stays in it)"),
			ContainSubstring("Namespace/"+r.namespace+" (")))
	}
	revision := r.push(files)
	r.reconcile()
	expectStays(revision) // nobody is asked for a consent to what is not done
	delete(files, "policy/x.yaml")
	revision = r.push(files)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "/x")
	r.consent(r.sync.Status.Removal.Digest)
	for range 2 {
		r.reconcile()
		expectStays(revision)
		r.clock.Step(driftInterval + 1)
	}
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeFalse())
}

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

// A PolicySync goes that has applied its own Namespace, where a person keeps the password of backups.
func TestAPolicySyncThatGoesLeavesItsOwnNamespace(t *testing.T) {
	r := asDeployer(t, func(p *v1alpha1.PolicySync) { p.Spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
	r.begins(map[string]string{
		"policy/a.yaml": storage("a"),
		"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + r.namespace + "}\n",
	})
	r.emitted()
	r.g.Expect(r.Client.Delete(t.Context(), r.sync)).To(Succeed())
	r.reconcile()
	r.g.Expect(r.exists(&v1alpha1.PolicySync{}, "policy")).To(BeFalse())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(BeFalse())
	namespace := &corev1.Namespace{}
	r.g.Expect(r.Get(t.Context(), types.NamespacedName{Name: r.namespace}, namespace)).To(Succeed())
	r.g.Expect(namespace.DeletionTimestamp).To(BeNil(), "what nobody has applied would go with it")
	r.g.Expect(r.emitted()).
		To(ContainElement(ContainSubstring("not deleted: Namespace/" + r.namespace + " (PolicySync/")))
}
