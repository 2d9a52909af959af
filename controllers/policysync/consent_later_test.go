package policysync

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A revision removes everything that was applied. All of it is in use at that time, or some. Then it no longer is.
func TestRemovingEverythingNeedsAConsentAlsoLater(t *testing.T) {
	for name, partly := range map[string]bool{"all is in use": false, "a part is": true} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			files := map[string]string{"policy/u.yaml": storage("used")}
			if partly {
				files["policy/x.yaml"] = storage("x")
			}
			r.push(files)
			r.reconcile()
			repository := r.uses("used")
			revision := r.push(another)
			r.reconcile()
			if partly {
				r.g.Expect(r.sync.Status.Removal.Objects).To(ConsistOf("BackupStorage/" + r.namespace + "/x"))
				r.consent(r.sync.Status.Removal.Digest)
				r.reconcile()
			}
			r.expectReady(revision)
			r.g.Expect(r.Client.Delete(t.Context(), repository)).To(Succeed())
			r.restart()
			r.reconcile()
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "used")).To(BeTrue(), "nobody has consented to this")
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "/used were not deleted")
			r.consent(r.sync.Status.Removal.Digest)
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "used")).To(BeFalse())
		})
	}
}

// Somebody consents to the removal of everything, which fails. The commit is reverted in part.
func TestAConsentThatDeletedNothingCountsForNoLaterRevision(t *testing.T) {
	for name, tt := range map[string]struct{ earlier, again bool }{
		"by this version":                              {},
		"by an earlier version":                        {earlier: true},
		"by an earlier version, and again by this one": {earlier: true, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(both)
			r.reconcile()
			r.push(another)
			r.reconcile()
			r.consent(r.sync.Status.Removal.Digest)
			r.api.refuse = func(req *http.Request) bool { return req.Method == http.MethodDelete }
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonPruneFailed, "")
			if tt.earlier {
				for i := range r.sync.Status.Inventory.Entries {
					r.sync.Status.Inventory.Entries[i].Consent = ""
				}
				r.g.Expect(r.Status().Update(t.Context(), r.sync)).To(Succeed())
			}
			if tt.again {
				r.restart()
				r.reconcile()
				r.expectNotReady(v1alpha1.ReasonPruneFailed, "")
				r.g.Expect(r.sync.Status.Consent.Complete).To(BeFalse(), "it counts for a and b until they have gone")
			}
			r.api.refuse = nil
			r.push(map[string]string{"policy/a.yaml": storage("a"), "policy/c.yaml": storage("c")})
			r.reconcile()
			r.g.Expect(r.there()).To(Equal("abc"), "the consent counted for another revision, and for a and b")
			r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "BackupStorage/"+r.namespace+"/b")
		})
	}
}

// A finalizer holds the last object of a consented removal, which then goes before the next revision comes.
func TestAConsentThatIsCarriedOutBlocksNoLaterRevision(t *testing.T) {
	for name, killed := range map[string]bool{"between two passes": false, "in a pass that is killed": true} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.ClassWait = time.Millisecond
			r.push(both)
			r.reconcile()
			b := &v1alpha1.BackupStorage{}
			r.g.Expect(r.exists(b, "b")).To(BeTrue())
			b.Finalizers = append(b.Finalizers, "example.com/held")
			r.g.Expect(r.Update(t.Context(), b)).To(Succeed())
			r.push(map[string]string{"policy/c.yaml": storage("c"), "policy/d.yaml": storage("d")})
			r.reconcile()
			r.consent(r.sync.Status.Removal.Digest)
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonPruneFailed, "waiting until BackupStorage/"+r.namespace+"/b is deleted")
			r.g.Expect(r.exists(b, "b")).To(BeTrue())
			b.Finalizers = nil
			r.g.Expect(r.Update(t.Context(), b)).To(Succeed())
			if killed { // when it has written that b is gone
				_, dead := r.killAt(1, false)
				_, _ = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)})
				r.g.Expect(*dead).To(BeTrue())
				r.api.around = nil
				r.restart()
			}
			revision := r.push(another)
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(r.exists(b, "d")).To(BeFalse(), "an ordinary removal")
			r.g.Expect(r.there()).To(Equal("c"))
		})
	}
}

// One storage waits until its backups are wiped. Another was in use from elsewhere, and can go before that. A consent
// to the second one ends that to the first.
func TestTheMessageSaysWhatANewConsentEnds(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{
		"policy/a.yaml": storage("a"), "policy/u.yaml": wiping("used", r.namespace),
		"policy/o.yaml": wiping("other", r.namespace),
		"policy/w.yaml": strings.Replace(configuration("web", "0 2 * * *"), "encryptionSecret: {name: enc}",
			"encryptionSecret: {name: enc}, deletionPolicy: WipeOut", 1),
	})
	r.reconcile()
	repository := r.uses("used")
	elsewhere := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: bed.Namespace(t, nil), Name: "web"}, Spec: repository.Spec,
	}
	elsewhere.Spec.StorageRef = v1alpha1.ObjectReference{Namespace: r.namespace, Name: "other"}
	r.g.Expect(r.Create(t.Context(), elsewhere)).To(Succeed())
	elsewhere.Status.InitializedSpec = "x"
	r.g.Expect(r.Status().Update(t.Context(), elsewhere)).To(Succeed())
	revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	used, other := "BackupStorage/"+r.namespace+"/used", "BackupStorage/"+r.namespace+"/other"
	r.g.Expect(r.sync.Status.Removal.Objects).To(ConsistOf(HaveSuffix("/web"), used))
	r.g.Expect(conditions.GetMessage(r.sync, v1alpha1.ConditionDeletionBlocked)).NotTo(ContainSubstring("This ends"))
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.Client.Delete(t.Context(), elsewhere)).To(Succeed())
	r.restart()
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "This ends the consent of revision "+revision)
	r.g.Expect(r.sync.Status.Removal.Objects).To(ConsistOf(other))
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.Client.Delete(t.Context(), repository)).To(Succeed()) // its wipe has ended
	r.restart()
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, used)
}
