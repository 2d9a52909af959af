package policysync

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

const waitsToDelete = "waits to delete what the revision lacks"

// The inventory holds an object that a refused revision was going to apply and that does not exist.
func TestTheGuardIsNotHiddenByARefusedRevision(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
	r.reconcile()
	r.push(map[string]string{
		"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b"), "policy/c.yaml": storage("c"),
	})
	r.api.refuse = func(req *http.Request) bool {
		return strings.HasSuffix(req.URL.Path, "/backupstorages/c") && req.Method == http.MethodPatch
	}
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonReconcileFailed, "connection lost")
	r.api.refuse = nil
	r.push(map[string]string{"policy/c.yaml": storage("c")})
	r.g.Expect(r.reconcileLogged("applied objects")).
		To(HaveExactElements(HaveSuffix(`"objects"=1 "changed"=1 "deleted"=0`)))
	r.clock.Step(driftInterval + time.Minute)
	r.g.Expect(r.reconcileLogged(waitsToDelete)).To(HaveExactElements(HaveSuffix(`"stale"=2`)))
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "were not deleted")
	for _, name := range []string{"a", "b", "c"} {
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, name)).To(BeTrue(), name)
	}
}

// Whoever can change a PolicySync does not have the manager's rights.
func TestWithoutAnAccountNothingOfAnAccountIsDeleted(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })
	all := []string{"*"}
	r.allow("deployer", rbacv1.PolicyRule{APIGroups: all, Resources: all, Verbs: all})
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: enc}\nstringData: {password: x}\n"
	r.push(map[string]string{
		"policy/s.yaml": storage("local"), "policy/t.yaml": storage("other"),
		"policy/e.yaml": secret,
	})
	r.g.Eventually(func() string {
		r.reconcile()
		return conditions.GetReason(r.sync, meta.ReadyCondition)
	}, testbed.Patience, "100ms").Should(Equal(v1alpha1.ReasonReconcileSucceeded), "once the role is known")
	r.update(func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "" })
	revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "other")).To(BeFalse())
	r.g.Expect(r.exists(&corev1.Secret{}, "enc")).To(BeTrue())
	r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).
		To(HaveSuffix("not deleted: Secret/" + r.namespace +
			"/enc (set spec.serviceAccountName to an account that is allowed to delete it)"))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(2))

	r.update(func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(&corev1.Secret{}, "enc")).To(BeFalse())
}

func TestWhatOthersTookOverIsNotPruned(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"Flux": {
			"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
		},
		"PolicySync": {v1alpha1.LabelSyncName: "another"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
			r.reconcile()
			s := &v1alpha1.BackupStorage{}
			r.g.Expect(r.exists(s, "b")).To(BeTrue())
			for k, v := range labels {
				s.Labels[k] = v
			}
			r.g.Expect(r.Update(t.Context(), s)).To(Succeed())
			revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
			r.g.Expect(r.reconcileLogged("applied objects")).To(HaveExactElements(HaveSuffix(`"deleted"=0`)))
			r.expectReady(revision)
			r.g.Expect(r.exists(s, "b")).To(BeTrue())
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
		})
	}
}

func TestManyObjectsArePruned(t *testing.T) {
	r := newRoom(t)
	files := map[string]string{"policy/s.yaml": storage("stays")}
	for i := range 30 {
		files[fmt.Sprintf("policy/%d.yaml", i)] = storage(fmt.Sprintf("s%d", i))
	}
	r.push(files)
	r.reconcile()
	revision := r.push(map[string]string{"policy/s.yaml": storage("stays")})
	r.api.refuse = func(req *http.Request) bool { return req.Method == http.MethodDelete }
	r.g.Expect(r.reconcileLogged("applied objects")).To(HaveExactElements(HaveSuffix(`"deleted"=0`)))
	r.expectNotReady(v1alpha1.ReasonPruneFailed, "")
	r.clock.Step(time.Hour)
	r.g.Expect(r.reconcileLogged(waitsToDelete)).To(HaveExactElements(HaveSuffix(`"stale"=30`)))
	r.api.refuse = nil
	r.clock.Step(time.Hour)
	r.emitted()
	r.g.Expect(r.reconcileLogged("applied objects")).To(HaveExactElements(HaveSuffix(`"deleted"=30`)))
	r.expectReady(revision)
	r.g.Expect(r.emitted()).To(ContainElement(And(
		HavePrefix("Normal ReconciliationSucceeded deleted what revision "+revision+" lacks: BackupStorage/"),
		ContainSubstring("/s13 and 25 more "))))
	left := &v1alpha1.BackupStorageList{}
	r.g.Expect(r.List(t.Context(), left, client.InNamespace(r.namespace))).To(Succeed())
	r.g.Expect(left.Items).NotTo(ContainElement(HaveField("ObjectMeta.Name", HavePrefix("s1"))))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
}

// A finalizer can hold an object for a long time: the API server is asked once to delete it.
func TestADeletionThatAFinalizerHoldsBeginsOnce(t *testing.T) {
	r := newRoom(t)
	r.ClassWait = time.Millisecond
	r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
	r.reconcile()
	s := &v1alpha1.BackupStorage{}
	r.g.Expect(r.exists(s, "b")).To(BeTrue())
	s.Finalizers = append(s.Finalizers, "example.com/held")
	r.g.Expect(r.Update(t.Context(), s)).To(Succeed())
	revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
	for _, line := range []string{`"objects"=1 "changed"=0 "deleted"=1`, `"stale"=1`} {
		lines := r.reconcileLogged("applied objects", waitsToDelete)
		r.g.Expect(lines).To(HaveExactElements(HaveSuffix(line)))
		r.expectNotReady(v1alpha1.ReasonPruneFailed, "waiting until BackupStorage/"+r.namespace+"/b is deleted")
		r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(2))
		r.clock.Step(time.Hour)
	}
	r.g.Expect(r.api.count[http.MethodDelete]).To(Equal(1))
	r.g.Expect(r.exists(s, "b")).To(BeTrue())
	s.Finalizers = nil
	r.g.Expect(r.Update(t.Context(), s)).To(Succeed())
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
}

// One event reports a deletion that keeps failing.
func TestADeletionThatFailsIsOneEvent(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
	r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.emitted()
	r.api.refuse = func(req *http.Request) bool { return req.Method == http.MethodDelete }
	r.g.Expect(r.Client.Delete(t.Context(), r.sync)).NotTo(Succeed())
	r.api.refuse = nil
	r.g.Expect(r.Client.Delete(t.Context(), r.sync)).To(Succeed())
	r.api.refuse = func(req *http.Request) bool { return req.Method == http.MethodDelete }
	for range 3 {
		r.reconcile()
	}
	r.g.Expect(r.emitted()).To(ConsistOf(HavePrefix("Warning PruneFailed")))
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(BeTrue())
	r.api.refuse = nil
	ctx, logged := loglines.Record(t.Context(), 0)
	_, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)})
	r.g.Expect(err).NotTo(HaveOccurred())
	r.g.Expect(r.exists(&v1alpha1.PolicySync{}, "policy")).To(BeFalse())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(BeFalse())
	r.g.Expect(*logged).To(ContainElement(ContainSubstring(
		`"msg"="deleted what it owned" "released"=1 "left"=0`)), "the log says what the finalizer did")
}

// Nothing is wiped because a namespace is being deleted, also not in another one.
func TestTheDeletionOfANamespacePrunesNoOther(t *testing.T) {
	r := asDeployer(t, func(p *v1alpha1.PolicySync) { p.Spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
	other := r.namespace + "-b"
	r.begins(map[string]string{
		"policy/a.yaml": storage("a"),
		"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + other + "}\n---\n" + wiping("x", other),
	})
	r.emitted()
	r.g.Expect(bed.Client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}})).
		To(Succeed())
	r.g.Expect(bed.Client.Delete(t.Context(), r.sync)).To(Succeed()) // as the namespace controller does
	r.reconcile()

	x, namespace := &v1alpha1.BackupStorage{}, &corev1.Namespace{}
	r.g.Expect(r.Get(t.Context(), types.NamespacedName{Namespace: other, Name: "x"}, x)).To(Succeed())
	r.g.Expect(x.DeletionTimestamp).To(BeNil(), "its backups would go with it")
	r.g.Expect(r.Get(t.Context(), types.NamespacedName{Name: other}, namespace)).To(Succeed())
	r.g.Expect(namespace.DeletionTimestamp).To(BeNil())
	r.g.Expect(r.emitted()).To(ContainElement(And(
		HavePrefix("Warning DataKept"), ContainSubstring("BackupStorage/"+other+"/x"))))
	r.g.Expect(r.exists(&v1alpha1.PolicySync{}, "policy")).To(BeFalse(), "it blocks its namespace no longer")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(BeFalse(), "this is in the deleted namespace")
}

// uses makes a Repository in a storage.
func (r *testNamespace) uses(storage string) *v1alpha1.Repository {
	r.t.Helper()
	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web"},
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
			StorageRef: v1alpha1.ObjectReference{Name: storage}, Path: "/web",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	}
	r.g.Expect(r.Create(r.t.Context(), repository)).To(Succeed())
	return repository
}

// A revision drops a Namespace, the Secret in it with a password that only a person knows, a storage in use, and x.
func TestAConsentCoversOnlyWhatGoes(t *testing.T) {
	r := asDeployer(t)
	name := r.namespace + "-b"
	files := map[string]string{
		"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b"),
		"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n",
	}
	r.begins(files)
	r.g.Expect(r.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "enc"},
		StringData: map[string]string{"password": "the only copy"},
	})).To(Succeed())
	files["policy/e.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: enc, namespace: " + name +
		", annotations: {backup.cairn.dev/shared: \"true\"}}\n"
	files["policy/u.yaml"], files["policy/x.yaml"] = wiping("used", r.namespace), wiping("x", r.namespace)
	r.push(files)
	r.reconcile()
	r.uses("used")
	for _, f := range []string{"n", "e", "u", "x"} {
		delete(files, "policy/"+f+".yaml")
	}
	revision := r.push(files)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "BackupStorage/"+r.namespace+"/x were not deleted")
	r.g.Expect(r.sync.Status.Removal.Objects).To(ConsistOf("BackupStorage/" + r.namespace + "/x"))
	r.consent(r.sync.Status.Removal.Digest)
	expect := func() {
		t.Helper()
		r.reconcile()
		r.expectReady(revision)
		for _, stays := range []string{
			"Secret/" + name + "/enc (no PolicySync has",
			"Namespace/" + name + " (Secret/" + name + "/enc stays in it)",
			"BackupStorage/" + r.namespace + "/used (Repository " + r.namespace + "/web uses it)",
		} {
			r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(ContainSubstring(stays))
		}
		r.g.Expect(r.sync.Status.Removal).To(BeNil())
		r.clock.Step(driftInterval)
	}
	expect()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "x")).To(BeFalse(), "somebody has consented")
	expect()
	r.restart()
	expect()
	delete(files, "policy/b.yaml")
	revision = r.push(files)
	expect()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "b")).To(BeFalse(), "a later revision removes something else")
	r.g.Expect(r.Client.Delete(t.Context(), &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "a"},
	})).To(Succeed())
	expect() // somebody deleted all objects of the revision
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "a")).To(BeTrue())
}

// What stays while a consent is not carried out yet, and then could go, needs a consent of its own.
func TestAConsentCountsForNothingThatStayed(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{
		"policy/a.yaml": storage("a"), "policy/u.yaml": wiping("used", r.namespace),
		"policy/x.yaml": wiping("x", r.namespace), "policy/y.yaml": wiping("y", r.namespace),
	})
	r.reconcile()
	repository := r.uses("used")
	revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.consent(r.sync.Status.Removal.Digest)
	r.api.refuse = func(req *http.Request) bool {
		return req.Method == http.MethodDelete && strings.HasSuffix(req.URL.Path, "/x")
	}
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonPruneFailed, "")
	r.api.refuse = nil
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "y")).To(BeFalse())
	r.g.Expect(r.Client.Delete(t.Context(), repository)).To(Succeed())
	r.clock.Step(driftInterval)
	r.reconcile()
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "used")).To(BeTrue(), "the consent was for x and y")
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "BackupStorage/"+r.namespace+"/used")
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "used")).To(BeFalse())
}

// Whoever consents to the removal of what needs a storage consents to that of the storage.
func TestAConsentCoversWhatIsNoLongerNeeded(t *testing.T) {
	for name, file := range map[string]string{
		"the Repository goes": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: web}\n" +
			"spec: {appRef: {kind: PersistentVolumeClaim, name: web}, storageRef: {name: used}, path: /web, " +
			"encryptionSecret: {name: enc}}\n",
		"it can go along": strings.Replace(configuration("web", "0 2 * * *"), "encryptionSecret: {name: enc}",
			"encryptionSecret: {name: enc}, deletionPolicy: WipeOut", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(map[string]string{
				"policy/a.yaml": storage("a"), "policy/u.yaml": wiping("used", r.namespace), "policy/w.yaml": file,
			})
			r.reconcile()
			repository := &v1alpha1.Repository{}
			if !r.exists(repository, "web") {
				repository = r.uses("used")
			}
			revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
			r.g.Expect(r.sync.Status.Removal.Objects).To(ContainElement("BackupStorage/" + r.namespace + "/used"))
			r.consent(r.sync.Status.Removal.Digest)
			for range 2 { // in this test nobody takes the second Repository along
				r.reconcile()
				r.expectReady(revision)
				r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "used")).To(Equal(r.exists(repository, "web")))
				r.clock.Step(driftInterval)
			}
		})
	}
}

// A commit drops a BackupConfiguration and its storage, both with deletionPolicy: WipeOut. The Repository needs the
// storage until a keeper has wiped it, which takes longer than the removal. Whoever consented to all of it is not asked
// again, unless the consent ends.
func TestAConsentLastsUntilAWipeHasEnded(t *testing.T) {
	for name, ends := range map[string]func(*testNamespace){
		"it lasts":               nil,
		"another revision comes": func(r *testNamespace) { r.push(both) },
		"somebody withdraws it":  func(r *testNamespace) { r.consent("") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(map[string]string{
				"policy/a.yaml": storage("a"), "policy/u.yaml": wiping("used", r.namespace),
				"policy/w.yaml": strings.Replace(configuration("web", "0 2 * * *"), "encryptionSecret: {name: enc}",
					"encryptionSecret: {name: enc}, deletionPolicy: WipeOut", 1),
			})
			r.reconcile()
			repository := r.uses("used")
			revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
			used := "BackupStorage/" + r.namespace + "/used"
			r.g.Expect(r.sync.Status.Removal.Objects).To(ConsistOf(HaveSuffix("/web"), used))
			r.consent(r.sync.Status.Removal.Digest)
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(r.sync.Status.Consent.Complete).To(BeFalse(), "it counts for the storage")
			if ends != nil {
				ends(r)
			}
			r.restart()
			r.g.Expect(r.Client.Delete(t.Context(), repository)).To(Succeed()) // its wipe has ended
			r.reconcile()
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "used")).To(Equal(ends != nil))
			if ends != nil {
				r.expectNotReady(v1alpha1.ReasonDeletionBlocked, used)
				return
			}
			r.expectReady(revision)
			r.g.Expect(r.sync.Status.Consent.Complete).To(BeTrue())
		})
	}
}
