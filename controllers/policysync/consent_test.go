package policysync

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var (
	both    = map[string]string{"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b")}
	another = map[string]string{"policy/c.yaml": storage("c")}
	all     = map[string]string{
		"policy/a.yaml": storage("a"), "policy/b.yaml": storage("b"), "policy/c.yaml": storage("c"),
	}
)

func (r *testNamespace) consent(digest string) {
	r.t.Helper()
	r.update(func(p *v1alpha1.PolicySync) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[v1alpha1.AnnotationAllowDelete] = digest
	})
}

// there returns which of the BackupStorages a, b and c exist.
func (r *testNamespace) there() (names string) {
	r.t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		if r.exists(&v1alpha1.BackupStorage{}, name) {
			names += name
		}
	}
	return names
}

// usedUp carries out a consented removal of a and b, and brings both back.
func (r *testNamespace) usedUp() (digest string) {
	r.t.Helper()
	r.push(both)
	r.reconcile()
	r.push(another)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
	digest = r.sync.Status.Removal.Digest
	r.consent(digest)
	r.reconcile()
	r.g.Expect(r.there()).To(Equal("c"), "%v", r.sync.Status.Conditions)
	r.push(all)
	r.reconcile()
	r.push(both)
	r.reconcile()
	r.g.Expect(r.there()).To(Equal("ab"))
	return digest
}

// The annotation stays on the PolicySync, and the same objects are to be removed once more.
func TestAConsentCountsOnce(t *testing.T) {
	r := newRoom(t)
	digest := r.usedUp()
	revision := r.push(another)
	r.reconcile()
	r.g.Expect(r.there()).To(Equal("abc"), "a consent that was given long ago removed everything again")
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "counted for revision main@sha1:")
	r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).
		To(ContainSubstring(v1alpha1.AnnotationAllowDelete + "- "))
	writes, git := r.api.writes(), r.gitCalls.Load()
	r.reconcile()
	r.g.Expect(r.api.writes()).To(Equal(writes))
	r.g.Expect(r.gitCalls.Load()-git).To(Equal(int64(1)), "a consent that is used up is no news")

	r.update(func(p *v1alpha1.PolicySync) { delete(p.Annotations, v1alpha1.AnnotationAllowDelete) })
	r.reconcile()
	r.g.Expect(r.sync.Status.Consent).To(BeNil())
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
	r.consent(digest)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.there()).To(Equal("c"))
}

// The same commit comes again, which the consent counted for.
func TestAConsentCountsOnceForARevision(t *testing.T) {
	r := newRoom(t)
	r.push(both)
	r.reconcile()
	bad := r.push(another)
	r.reconcile()
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	r.g.Expect(r.there()).To(Equal("c"))
	r.push(all)
	r.reconcile()
	r.push(both)
	r.reconcile()
	r.git("reset", "-q", "--hard", bad[len("main@sha1:"):])
	r.git("push", "-q", "-f", "origin", "main")
	r.reconcile()
	r.g.Expect(r.there()).To(Equal("abc"))
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "counted for revision "+bad)
}

// Whoever reviews the change knows the digest, and consents before the merge.
func TestAConsentBeforeTheMerge(t *testing.T) {
	r := newRoom(t)
	r.push(both)
	r.reconcile()
	var refs []v1alpha1.ResourceRef
	for _, name := range []string{"a", "b"} {
		refs = append(refs, v1alpha1.ResourceRef{ID: r.namespace + "_" + name + "_backup.cairn.dev_BackupStorage"})
	}
	r.consent(digestOf(refs))
	r.reconcile()
	revision := r.push(another)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.there()).To(Equal("c"))
	r.g.Expect(r.sync.Status.Consent).To(Equal(&v1alpha1.UsedConsent{
		Digest: digestOf(refs), Revision: revision, Generation: r.sync.Generation, Complete: true,
	}))
}

// A consent lets a removal finish that was killed half-way, or of which a deletion fails, and nothing else.
func TestAConsentLetsARemovalFinish(t *testing.T) {
	for name, other := range map[string]bool{"it finishes": false, "another revision comes first": true} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(both)
			r.reconcile()
			revision := r.push(another)
			r.reconcile()
			r.consent(r.sync.Status.Removal.Digest)
			r.api.refuse = func(req *http.Request) bool {
				return req.Method == http.MethodDelete && req.URL.Path[len(req.URL.Path)-2:] == "/b"
			}
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonPruneFailed, "")
			r.api.refuse = nil
			r.g.Expect(r.there()).To(Equal("bc"))
			r.g.Expect(r.sync.Status.Consent.Complete).To(BeFalse())
			r.restart()
			if !other {
				s := &v1alpha1.BackupStorage{} // the guard would hold back b without c
				r.g.Expect(r.exists(s, "c")).To(BeTrue())
				r.g.Expect(r.Client.Delete(t.Context(), s)).To(Succeed())
				r.reconcile()
				r.expectReady(revision)
				r.g.Expect(r.there()).To(Equal("c"))
				r.g.Expect(r.sync.Status.Consent.Complete).To(BeTrue())
				return
			}
			r.push(map[string]string{"policy/d.yaml": storage("d")})
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
			r.g.Expect(r.there()).To(Equal("bc"), "the consent was for a and b")
			r.g.Expect(r.sync.Status.Consent.Complete).To(BeTrue())
		})
	}
}

// A backup of the cluster, or a manifest, brings the PolicySync back with its annotations and without its status.
func TestAConsentThatWasThereBeforeIsUsedUp(t *testing.T) {
	for name, wipe := range map[string]func(*testNamespace){
		"made again": func(r *testNamespace) {
			r.g.Expect(r.Client.Delete(r.t.Context(), r.sync)).To(Succeed())
			r.reconcile()
			err := r.Get(r.t.Context(), client.ObjectKeyFromObject(r.sync), r.sync)
			r.g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
			r.sync.ObjectMeta = metav1.ObjectMeta{
				Namespace: r.namespace, Name: r.sync.Name, Annotations: r.sync.Annotations,
			}
			r.sync.Status = v1alpha1.PolicySyncStatus{}
			r.g.Expect(r.Create(r.t.Context(), r.sync)).To(Succeed())
		},
		"status wiped": func(r *testNamespace) {
			r.sync.Status = v1alpha1.PolicySyncStatus{ObservedGeneration: -1}
			r.g.Expect(r.Status().Update(r.t.Context(), r.sync)).To(Succeed())
			r.restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.usedUp()
			wipe(r)
			r.reconcile()
			r.push(another)
			r.reconcile()
			r.g.Expect(r.there()).To(Equal("abc"))
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "counted for revision")
		})
	}
}

// While a removal is blocked, somebody sets prune to false, reverts a part of the commit, and sets prune to true.
func TestAPauseOfPruneIsNoConsent(t *testing.T) {
	r := newRoom(t)
	prune := func(prune bool) {
		r.t.Helper()
		r.update(func(p *v1alpha1.PolicySync) { p.Spec.Prune = prune })
		r.reconcile()
	}
	r.push(both)
	r.reconcile()
	bad := r.push(another)
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
	prune(false)
	r.expectReady(bad)
	r.g.Expect(conditions.Get(r.sync, v1alpha1.ConditionDeletionBlocked)).To(BeNil(), "nothing is to be deleted")
	partial := r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/c.yaml": storage("c")})
	r.reconcile()
	r.expectReady(partial)
	r.g.Expect(r.sync.Status.Removal).NotTo(BeNil(), "it still waits for a consent")
	r.consent(r.sync.Status.Removal.Digest)
	for range 2 {
		r.reconcile()
		r.expectReady(partial)
		r.g.Expect(r.there()).To(Equal("abc"))
		r.g.Expect(r.sync.Status.Consent).To(BeNil(), "it counts once prune is true")
	}
	r.update(func(p *v1alpha1.PolicySync) { delete(p.Annotations, v1alpha1.AnnotationAllowDelete) })
	prune(true)
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "BackupStorage/"+r.namespace+"/b")
	r.g.Expect(r.there()).To(Equal("abc"), "nobody has consented")
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	r.expectReady(partial)
	r.g.Expect(r.there()).To(Equal("ac"))
}

// While a removal is blocked, somebody sets prune to false, and the next reconcile fails.
func TestWithoutPruneNoDeletionIsBlocked(t *testing.T) {
	for name, fails := range map[string]func(*testNamespace){
		"an apply fails": func(r *testNamespace) {
			r.push(map[string]string{"policy/c.yaml": storage("c"), "policy/d.yaml": storage("d")})
			r.api.refuse = func(req *http.Request) bool {
				return req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/backupstorages/d")
			}
		},
		"Git is down": func(r *testNamespace) { r.down.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(both)
			r.reconcile()
			r.push(another)
			r.reconcile()
			r.g.Expect(conditions.IsTrue(r.sync, v1alpha1.ConditionDeletionBlocked)).To(BeTrue())
			r.update(func(p *v1alpha1.PolicySync) { p.Spec.Prune = false })
			fails(r)
			r.reconcile()
			r.g.Expect(conditions.IsReady(r.sync)).To(BeFalse())
			r.g.Expect(conditions.Get(r.sync, v1alpha1.ConditionDeletionBlocked)).
				To(BeNil(), "nothing is to be deleted")
			r.g.Expect(r.sync.Status.Removal).NotTo(BeNil(), "it still waits for a consent")
		})
	}
}

// Somebody sets prune to false before the commit, and to true after it, or after a part of it was reverted.
func TestARemovalThatComesWithoutPruneNeedsAConsent(t *testing.T) {
	for name, tt := range map[string]struct{ from, bad, partial, held string }{
		"everything":                  {"ab", "c", "c", "a"},
		"everything, in part":         {"ab", "c", "ac", "b"},
		"backups go along":            {"abx", "a", "a", "x"},
		"backups went along, in part": {"abx", "a", "ax", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			push := func(names string) string {
				files := map[string]string{}
				for _, name := range strings.Split(names, "") {
					files["policy/"+name+".yaml"] = storage(name)
				}
				if strings.Contains(names, "x") {
					files["policy/x.yaml"] = wiping("x", r.namespace)
				}
				revision := r.push(files)
				r.reconcile()
				return revision
			}
			r.expectReady(push(tt.from))
			r.update(func(p *v1alpha1.PolicySync) { p.Spec.Prune = false })
			r.expectReady(push(tt.bad))
			r.expectReady(push(tt.partial))
			r.update(func(p *v1alpha1.PolicySync) { p.Spec.Prune = true })
			r.reconcile()
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, tt.held)).To(BeTrue(), "nobody has consented")
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "BackupStorage/"+r.namespace+"/"+tt.held)
			r.consent(r.sync.Status.Removal.Digest)
			r.reconcile()
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, tt.held)).To(BeFalse(), "somebody has")
		})
	}
}

// The guard counts no removals over time: each revision was reviewed, and the last object stays in any case.
func TestTheGuardHoldsTheLastStepOfManyRemovals(t *testing.T) {
	r := newRoom(t)
	r.push(all)
	r.reconcile()
	r.push(map[string]string{"policy/b.yaml": storage("b"), "policy/c.yaml": storage("c")})
	r.reconcile()
	revision := r.push(another)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.there()).To(Equal("c"))
	r.push(map[string]string{"policy/d.yaml": storage("d")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "")
	r.g.Expect(r.there()).To(Equal("c"))
}

// restart forgets everything that a process remembers.
func (r *testNamespace) restart() {
	r.passes, r.applied, r.inForce = store[lastPass]{}, store[map[key]fingerprint]{}, store[appliedRevision]{}
}
