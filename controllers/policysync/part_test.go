package policysync

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Others must know when the cluster holds parts of two revisions, also if the process is killed in between.
func TestAPartOfARevisionIsAnnounced(t *testing.T) {
	setup := func(t *testing.T) (*testNamespace, string) {
		r := newRoom(t)
		r.push(map[string]string{"policy/a.yaml": configuration("a", "0 1 * * *")})
		r.reconcile()
		r.g.Expect(r.sync.Status.ApplyingRevision).To(BeEmpty())
		return r, r.push(map[string]string{
			"policy/a.yaml": configuration("a", "0 2 * * *"), "policy/c.yaml": configuration("c", "0 2 * * *"),
		})
	}
	c := &v1alpha1.BackupConfiguration{}
	// refuse refuses an object, or only its dry run.
	refuse := func(r *testNamespace, name string, dryRun bool) {
		r.answer("/"+name, http.StatusInternalServerError, "no room")
		refused := r.api.around
		r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if (req.URL.Query().Get("dryRun") != "") != dryRun {
				return next.RoundTrip(req)
			}
			return refused(req, next)
		}
	}
	t.Run("a write fails", func(t *testing.T) {
		r, revision := setup(t)
		refuse(r, "backupconfigurations/a", false)
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonReconcileFailed, "no room")
		r.g.Expect(r.exists(c, "c")).To(BeTrue())
		r.g.Expect(r.sync.Status.ApplyingRevision).To(Equal(revision))

		r.reconcile()
		r.g.Expect(r.sync.Status.ApplyingRevision).To(Equal(revision), "only one write is left, and it fails again")

		r.api.around = nil
		r.reconcile()
		r.expectReady(revision)
		r.g.Expect(r.sync.Status.ApplyingRevision).To(BeEmpty())
	})
	t.Run("then a Namespace fails", func(t *testing.T) {
		r := asDeployer(t)
		files := func(hour, git string) map[string]string {
			return map[string]string{
				"policy/a.yaml": configuration("a", "0 "+hour+" * * *"),
				"policy/c.yaml": configuration("c", "0 "+hour+" * * *"),
				"policy/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + r.namespace +
					", labels: {git: " + git + "}}\n",
			}
		}
		r.begins(files("1", "one"))
		revision := r.push(files("2", "one"))
		refuse(r, "backupconfigurations/a", false)
		r.reconcile()
		r.g.Expect(r.sync.Status.ApplyingRevision).To(Equal(revision))

		r.push(files("2", "two"))
		refuse(r, "namespaces/"+r.namespace, false)
		refused := r.api.around
		r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if strings.HasSuffix(req.URL.Path, "/namespaces/"+r.namespace) {
				return refused(req, next)
			}
			return next.RoundTrip(req)
		}
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonReconcileFailed, "no room")
		r.g.Expect(r.sync.Status.ApplyingRevision).To(Equal(revision), "a is still as before")

		r.api.around = nil
		revision = r.push(files("2", "three"))
		r.reconcile()
		r.expectReady(revision)
		r.g.Expect(r.sync.Status.ApplyingRevision).To(BeEmpty())
	})
	t.Run("a new object fails", func(t *testing.T) {
		r, _ := setup(t)
		refuse(r, "backupconfigurations/c", false)
		r.g.Eventually(func(g Gomega) {
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonReconcileFailed, "no room")
			g.Expect(r.sync.Status.ApplyingRevision).To(BeEmpty(), "what is missing lets nothing go")
		}).Should(Succeed())
	})
	t.Run("the end of a pause comes first", func(t *testing.T) {
		r := newRoom(t)
		policy := func(paused string, last int) map[string]string {
			return map[string]string{
				"policy/repository.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\n" +
					"metadata: {name: web}\nspec: {storageRef: {name: local}, path: /web, paused: " + paused +
					", encryptionSecret: {name: enc}}\n",
				"policy/keep.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: RetentionPolicy\n" +
					"metadata: {name: keep}\n" + fmt.Sprintf("spec: {successfulSnapshots: {last: %d}}\n", last),
			}
		}
		r.push(policy("true", 5))
		r.reconcile()
		revision := r.push(policy("false", 90))
		refuse(r, "retentionpolicies/keep", false)
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonReconcileFailed, "no room")
		r.g.Expect(r.sync.Status.ApplyingRevision).To(Equal(revision))
	})
	t.Run("a dry run fails", func(t *testing.T) {
		r, _ := setup(t)
		refuse(r, "backupconfigurations/a", true)
		r.reconcile()
		r.expectNotReady(v1alpha1.ReasonReconcileFailed, "no room")
		r.g.Expect(r.exists(c, "c")).To(BeFalse(), "nothing was written")
		r.g.Expect(r.sync.Status.ApplyingRevision).To(BeEmpty())
	})
	t.Run("the process is killed", func(t *testing.T) {
		r, revision := setup(t)
		dead := false
		r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			write := req.Method != http.MethodGet && req.URL.Query().Get("dryRun") == ""
			if dead = dead || write && strings.Contains(req.URL.Path, "backupconfigurations/a"); dead {
				return nil, http.ErrServerClosed
			}
			return next.RoundTrip(req)
		}
		_, _ = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)})
		r.api.around = nil
		r.g.Expect(r.Get(t.Context(), client.ObjectKeyFromObject(r.sync), r.sync)).To(Succeed())
		r.g.Expect(dead).To(BeTrue())
		r.g.Expect(r.sync.Status.ApplyingRevision).To(Equal(revision))
		r.restart()
		r.reconcile()
		r.expectReady(revision)
		r.g.Expect(r.sync.Status.ApplyingRevision).To(BeEmpty())
	})
}
