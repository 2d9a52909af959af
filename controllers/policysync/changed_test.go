package policysync

import (
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// What is gone decides no more, and another RetentionPolicy can be in force then.
func TestARevisionThatDeletesPolicyChangesIt(t *testing.T) {
	for name, c := range map[string]struct {
		before, after map[string]string
		path          string
		changes       bool
	}{
		"a BackupConfiguration": {
			before: map[string]string{
				"policy/a.yaml": configuration("a", "0 1 * * *"), "policy/b.yaml": configuration("b", "0 1 * * *"),
			},
			after: map[string]string{"policy/a.yaml": configuration("a", "0 1 * * *")},
			path:  "/backupconfigurations/b", changes: true,
		},
		"a BackupStorage": {
			before: map[string]string{
				"policy/a.yaml": configuration("a", "0 1 * * *"), "policy/s.yaml": storage("spare"),
			},
			after: map[string]string{"policy/a.yaml": configuration("a", "0 1 * * *")},
			path:  "/backupstorages/spare",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			first := r.push(c.before)
			r.reconcile()
			r.g.Expect(r.sync.Status.LastChangedRevision).To(Equal(first))
			want := first
			second := r.push(c.after)
			if c.changes {
				want = second
			}
			seen := ""
			r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
				if req.Method == http.MethodDelete && strings.HasSuffix(req.URL.Path, c.path) {
					var live v1alpha1.PolicySync
					r.g.Expect(r.Get(req.Context(), client.ObjectKeyFromObject(r.sync), &live)).To(Succeed())
					seen = live.Status.LastChangedRevision
				}
				return next.RoundTrip(req)
			}
			r.reconcile()
			r.expectReady(second)
			r.g.Expect(seen).To(Equal(want), "what it says while it deletes")
			r.g.Expect(r.sync.Status.LastChangedRevision).To(Equal(want))
		})
	}
}

// kubectl replace --force, or a restore of the cluster without its status. What was applied stayed.
func TestAPolicySyncThatWasMadeAgainCountsItsRevisionAsAChange(t *testing.T) {
	r := newRoom(t)
	revision := r.push(map[string]string{"policy/a.yaml": configuration("a", "0 1 * * *")})
	r.reconcile()
	r.expectReady(revision)
	again := &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.sync.Name}, Spec: r.sync.Spec,
	}
	r.g.Expect(r.Delete(t.Context(), r.sync)).To(Succeed())
	r.reconcile()
	r.g.Expect(r.Create(t.Context(), again)).To(Succeed())
	r.sync = again
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.sync.Status.LastChangedRevision).To(Equal(revision))
	r.g.Expect(r.sync.Status.LastChangedTime.IsZero()).To(BeFalse())
}

// Another PolicySync that asks meanwhile can get an older revision at once.
func TestASlowGitServerAnswersLaterThanItWasAsked(t *testing.T) {
	r := newRoom(t)
	asked := r.clock.Now().Truncate(time.Second)
	r.slow.Store(true)
	r.push(map[string]string{"policy/a.yaml": configuration("a", "0 1 * * *")})
	r.reconcile()
	r.g.Expect(r.sync.Status.LastAppliedTime.Time).To(BeTemporally("==", asked))
	r.g.Expect(r.sync.Status.LastChangedTime.Time).To(BeTemporally(">=", asked.Add(slowness)))
}
