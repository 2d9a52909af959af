package policysync

import (
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Other PolicySyncs of the branch have to apply that revision before anything is removed: see retention's findApart.
func TestTheRevisionThatChangedPolicyIsSaid(t *testing.T) {
	r := newRoom(t)
	note := func(path string) string {
		return "apiVersion: backup.cairn.dev/v1alpha1\nkind: HookTemplate\nmetadata: {name: note}\n" +
			"spec: {executor: {type: Operator}, action: {httpGet: {host: note, path: /" + path + ", port: 80}}}\n"
	}
	expect := func(revision string) {
		t.Helper()
		r.g.Expect(r.sync.Status.LastChangedRevision).To(Equal(revision))
		r.g.Expect(r.sync.Status.LastChangedTime.IsZero()).To(Equal(revision == ""))
	}
	r.push(map[string]string{"policy/note.yaml": note("one")})
	r.reconcile()
	expect("")
	made := r.push(map[string]string{
		"policy/note.yaml": note("one"), "policy/a.yaml": configuration("a", "0 1 * * *"),
	})
	r.reconcile()
	r.expectReady(made)
	expect(made)
	other := r.push(map[string]string{
		"policy/note.yaml": note("two"), "policy/a.yaml": configuration("a", "0 1 * * *"),
	})
	r.reconcile()
	r.expectReady(other)
	expect(made)

	second := r.push(map[string]string{"policy/a.yaml": configuration("a", "0 2 * * *")})
	seen := ""
	r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "/backupconfigurations/") && req.URL.Query().Get("dryRun") == "" &&
			req.Method == http.MethodPatch {
			var live v1alpha1.PolicySync
			r.g.Expect(r.Get(req.Context(), client.ObjectKeyFromObject(r.sync), &live)).To(Succeed())
			seen = live.Status.LastChangedRevision
		}
		return next.RoundTrip(req)
	}
	r.reconcile()
	r.g.Expect(seen).To(Equal(second), "nobody says it if the process is killed after the write")
	expect(second)
}
