package policysync

import (
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// deleted deletes an object by hand. A finalizer holds it.
func (r *testNamespace) deleted(o client.Object, name string) {
	r.t.Helper()
	r.g.Expect(r.exists(o, name)).To(BeTrue())
	o.SetFinalizers(append(o.GetFinalizers(), "example.com/held"))
	r.g.Expect(r.Update(r.t.Context(), o)).To(Succeed())
	r.g.Expect(r.Delete(r.t.Context(), o)).To(Succeed())
}

// releases lets an object go that a finalizer holds.
func (r *testNamespace) releases(o client.Object, name string) {
	r.t.Helper()
	r.g.Expect(r.exists(o, name)).To(BeTrue())
	o.SetFinalizers(nil)
	r.g.Expect(r.Update(r.t.Context(), o)).To(Succeed())
	r.g.Expect(r.exists(o, name)).To(BeFalse())
}

// usersFirst says of a storage that is being deleted what it waits for.
func (r *testNamespace) usersFirst(name string) {
	r.t.Helper()
	s := &v1alpha1.BackupStorage{}
	r.g.Expect(r.exists(s, name)).To(BeTrue())
	conditions.MarkFalse(s, meta.ReadyCondition, v1alpha1.ReasonInUse, "Repository web. Delete these users first")
	r.g.Expect(r.Status().Update(r.t.Context(), s)).To(Succeed())
}

// Somebody deletes a storage in use by mistake. The commit that would free it is applied, and so is everything else.
func TestAnObjectThatIsBeingDeletedHoldsUpOnlyItself(t *testing.T) {
	r := newRoom(t, func(s *v1alpha1.PolicySync) {
		s.Spec.RetryInterval = &metav1.Duration{Duration: 20 * time.Second}
	})
	files := map[string]string{
		"policy/s.yaml": storage("s3"), "policy/a.yaml": configuration("a", "0 1 * * *"),
		"policy/b.yaml": configuration("b", "0 2 * * *"),
	}
	r.push(files)
	r.reconcile()
	s, c := &v1alpha1.BackupStorage{}, &v1alpha1.BackupConfiguration{}
	r.deleted(s, "s3")
	r.usersFirst("s3")
	r.g.Expect(r.exists(c, "b")).To(BeTrue())
	c.Spec.Sessions[0].Scheduler.Schedule = "* * * * *"
	r.g.Expect(r.Update(t.Context(), c)).To(Succeed())
	delete(files, "policy/a.yaml")
	files["policy/c.yaml"] = configuration("c", "0 3 * * *")
	revision := r.push(files)
	r.emitted()

	r.g.Expect(r.reconcile().RequeueAfter).To(Equal(20 * time.Second))
	r.expectNotReady(v1alpha1.ReasonReconcileFailed, "BackupStorage/"+r.namespace+"/s3 is being deleted: Cairn "+
		"applies it again once it is gone. It says: Repository web. Delete these users first; apart from that: "+
		"applied revision "+revision)
	r.g.Expect(conditions.GetReason(r.sync, meta.ReconcilingCondition)).To(Equal(v1alpha1.ReasonProgressingWithRetry))
	r.g.Expect(r.exists(c, "a")).To(BeFalse(), "Git lacks it")
	r.g.Expect(r.exists(c, "c")).To(BeTrue())
	r.g.Expect(r.exists(c, "b")).To(BeTrue())
	r.g.Expect(c.Spec.Sessions[0].Scheduler.Schedule).To(Equal("0 2 * * *"), "an edit by hand")
	r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(revision))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(3), "s3 is not forgotten")
	r.g.Expect(r.emitted()).To(ConsistOf(HavePrefix("Normal ReconciliationSucceeded deleted what revision"),
		HavePrefix("Warning ReconciliationFailed BackupStorage/")))

	writes, version := r.api.writes(), r.sync.ResourceVersion
	for range 2 {
		r.g.Expect(r.reconcile().RequeueAfter).To(Equal(20 * time.Second))
		r.restart()
	}
	r.g.Expect(r.api.writes()).To(Equal(writes), "a try costs no write")
	r.g.Expect(r.sync.ResourceVersion).To(Equal(version))
	r.g.Expect(r.emitted()).To(BeEmpty())

	r.releases(s, "s3")
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(s, "s3")).To(BeTrue())
	r.g.Expect(s.DeletionTimestamp).To(BeNil())
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(3))
}

// What is being deleted is not counted as something that is left.
func TestWhatIsBeingDeletedDoesNotHideARemovalOfEverything(t *testing.T) {
	r := newRoom(t)
	r.push(all)
	r.reconcile()
	s := &v1alpha1.BackupStorage{}
	r.deleted(s, "a")
	revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
	for range 2 {
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "BackupStorage/"+r.namespace+"/a is being deleted")
		r.g.Expect(conditions.IsTrue(r.sync, v1alpha1.ConditionDeletionBlocked)).To(BeTrue())
	}
	r.g.Expect(r.sync.Status.Removal.Objects).NotTo(ContainElement(HaveSuffix("/a")))
	left := len(r.sync.Status.Removal.Objects)
	r.g.Expect(left).To(Equal(len(all) - 1))
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonReconcileFailed, "/a is being deleted")
	r.g.Expect(conditions.Has(r.sync, v1alpha1.ConditionDeletionBlocked)).To(BeFalse())
	r.g.Expect(r.there()).To(Equal("a"))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
	r.releases(s, "a")
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.there()).To(Equal("a"))
}

// A revision with a mistake stands. The revision in force still counts for what is not being deleted.
func TestWhatIsBeingDeletedKeepsNoRevisionFromBeingReapplied(t *testing.T) {
	r := newRoom(t)
	good := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
	r.reconcile()
	r.push(map[string]string{"policy/a.yaml": storage("a") + "  broken: [\n"})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonBuildFailed, "")
	s := &v1alpha1.BackupStorage{}
	r.deleted(s, "a")
	r.g.Expect(r.exists(s, "b")).To(BeTrue())
	r.g.Expect(r.Delete(t.Context(), s)).To(Succeed())
	r.clock.Step(driftInterval)
	r.reconcile()
	r.g.Expect(r.exists(s, "b")).To(BeTrue())
	r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(good))
}

// A BackupConfiguration of Git is being deleted. Its Repository, which Git drops, stays for when it comes back.
func TestWhatIsBeingDeletedKeepsItsRepository(t *testing.T) {
	for name, file := range map[string]string{
		"BackupConfiguration": configuration("web", "0 2 * * *"), "BackupBatch": batchFile("web", "web"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			files := map[string]string{
				"policy/s.yaml": storage("local"), "policy/w.yaml": file, "policy/r.yaml": repositoryFile("web"),
			}
			r.push(files)
			r.reconcile()
			if name == v1alpha1.BackupBatchKind {
				r.deleted(&v1alpha1.BackupBatch{}, "web")
			} else {
				r.deleted(&v1alpha1.BackupConfiguration{}, "web")
			}
			delete(files, "policy/r.yaml")
			r.push(files)
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonReconcileFailed, "not deleted: Repository/"+r.namespace+"/web ("+name)
			r.g.Expect(r.exists(&v1alpha1.Repository{}, "web")).To(BeTrue())
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(3))
		})
	}
}

// The API server takes no new object in a Namespace that is being deleted.
func TestANamespaceThatIsBeingDeletedHoldsUpOnlyWhatIsInIt(t *testing.T) {
	for name, ofGit := range map[string]bool{"of Git": true, "of a person": false} {
		t.Run(name, func(t *testing.T) {
			r := asDeployer(t)
			other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace + "-b"}}
			files := map[string]string{"policy/a.yaml": storage("a"), "policy/x.yaml": wiping("x", other.Name)}
			says := "Cairn applies what policy has in it once it is there again"
			if ofGit {
				says = "Cairn applies it, and what policy has in it, again once it is gone"
				files["policy/n.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + other.Name + "}\n"
			} else {
				r.g.Expect(r.Create(t.Context(), other)).To(Succeed())
			}
			r.begins(files)
			r.g.Expect(r.Get(t.Context(), client.ObjectKeyFromObject(other), other)).To(Succeed())
			r.g.Expect(r.Delete(t.Context(), other)).To(Succeed())
			files["policy/b.yaml"], files["policy/y.yaml"] = storage("b"), wiping("y", other.Name)
			revision := r.push(files)
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonReconcileFailed, "Namespace/"+other.Name+" is being deleted: "+says)
			r.g.Expect(r.there()).To(Equal("ab"))
			r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(revision))
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(len(files)))

			// Nothing empties Namespaces here: what was in it is still there when it comes back.
			r.g.Expect(r.Get(t.Context(), client.ObjectKeyFromObject(other), other)).To(Succeed())
			other.Spec.Finalizers = nil
			r.g.Expect(r.SubResource("finalize").Update(t.Context(), other)).To(Succeed())
			if !ofGit {
				r.g.Expect(r.Create(t.Context(),
					&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other.Name}})).To(Succeed())
			}
			r.g.Eventually(func() bool { // the API server's own view of Namespaces lags
				r.reconcile()
				return conditions.IsReady(r.sync)
			}, testbed.Patience, "100ms").Should(BeTrue())
			r.expectReady(revision)
			y := types.NamespacedName{Namespace: other.Name, Name: "y"}
			r.g.Expect(r.Get(t.Context(), y, &v1alpha1.BackupStorage{})).To(Succeed())
		})
	}
}

// A Secret that is being deleted gets no values, so nobody is asked about them.
func TestASecretThatIsBeingDeletedNeedsNoConsent(t *testing.T) {
	r := asDeployer(t)
	files := map[string]string{"policy/a.yaml": storage("a"), "policy/e.yaml": password("old")}
	r.begins(files)
	r.encrypts()
	r.deleted(&corev1.Secret{}, "enc")
	files["policy/e.yaml"], files["policy/b.yaml"] = password("new"), storage("b")
	r.push(files)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonReconcileFailed, "Secret/"+r.namespace+"/enc is being deleted")
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "b")).To(BeTrue())
}

// Between the look at an object and its deletion, somebody can change it.
func TestAnObjectThatChangesWhileItIsPruned(t *testing.T) {
	for name, tt := range map[string]struct {
		change map[string]string
		stays  bool
	}{
		"it is still ours":                 {map[string]string{"team": "shop"}, false},
		"another PolicySync takes it over": {map[string]string{v1alpha1.LabelSyncName: "another"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")})
			r.reconcile()
			s := &v1alpha1.BackupStorage{}
			r.g.Expect(r.exists(s, "b")).To(BeTrue())
			maps.Copy(s.Labels, tt.change)
			var once sync.Once
			r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
				if req.Method == http.MethodDelete {
					once.Do(func() { r.g.Expect(r.Update(t.Context(), s)).To(Succeed()) })
				}
				return next.RoundTrip(req)
			}

			revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(r.exists(s, "b")).To(Equal(tt.stays))
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
		})
	}
}
