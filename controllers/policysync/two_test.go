package policysync

import (
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/tools/record"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
)

// second returns the reconciler of the process that has got the lease.
func (r *testNamespace) second() *Reconciler {
	return &Reconciler{
		Client: bed.Client, APIReader: bed.Client, Scheme: scheme, EventRecorder: record.NewFakeRecorder(100),
		Clock: testclock.NewFakeClock(time.Now()), RESTConfig: bed.Config, WorkDir: r.t.TempDir(),
		Egress: egress.Anywhere(), Jitter: func(d time.Duration) time.Duration { return d },
	}
}

// A process that lost its lease was paused in the middle of a pass. It goes on when the next process has applied
// another revision.
func TestAPausedProcess(t *testing.T) {
	is := func(method, part string) func(*http.Request) bool {
		return func(req *http.Request) bool {
			return req.Method == method && strings.Contains(req.URL.Path, part) && req.URL.Query().Get("dryRun") == ""
		}
	}
	web := func(schedule string, names ...string) map[string]string {
		files := map[string]string{"policy/w.yaml": configuration("web", schedule)}
		for _, name := range names {
			files["policy/"+name+".yaml"] = storage(name)
		}
		return files
	}
	for name, tt := range map[string]struct {
		first, stale, next map[string]string
		paused             func(*http.Request) bool // before this request
		there              string
		// late reports that the request itself is under way: the API server can't know that it is outdated, and the
		// next comparison with Git reverts it.
		late bool
	}{
		"before it writes the inventory": {
			web("0 1 * * *", "a"), web("0 1 * * *", "a", "b"), web("0 3 * * *", "a", "c"),
			is(http.MethodPatch, "/status"), "ac", false,
		},
		"before it applies": {
			web("0 1 * * *", "a"), web("0 2 * * *", "a"), web("0 3 * * *", "a"),
			func(req *http.Request) bool {
				return req.URL.Query().Get("dryRun") != "" && strings.Contains(req.URL.Path, "/web")
			}, "a", false,
		},
		"while it applies": {
			web("0 1 * * *", "a"), web("0 2 * * *", "a"), web("0 3 * * *", "a"),
			is(http.MethodPatch, "/backupconfigurations/web"), "a", true,
		},
		"before it deletes": {
			web("0 1 * * *", "a", "b"), web("0 1 * * *", "a"), web("0 3 * * *", "a", "b"),
			is(http.MethodGet, "/backupstorages/b"), "ab", false,
		},
		"while it deletes": {
			web("0 1 * * *", "a", "b"), web("0 1 * * *", "a"), web("0 3 * * *", "a", "b"),
			is(http.MethodDelete, "/backupstorages/b"), "ab", true,
		},
		"before it writes the end": {
			web("0 1 * * *", "a", "b"), web("0 1 * * *", "a"), web("0 3 * * *", "a", "b", "c"),
			func() func(*http.Request) bool {
				n := 0
				return func(req *http.Request) bool {
					if is(http.MethodPatch, "/status")(req) {
						n++
					}
					return n == 2
				}
			}(), "abc", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(tt.first)
			r.reconcile()
			r.push(tt.stale)
			second, revision, done := r.second(), "", false
			clock := second.Clock.(*testclock.FakeClock)
			request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)}
			r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
				if !done && tt.paused(req) {
					done = true
					revision = r.push(tt.next)
					for range 2 { // the first can find an object that is being deleted
						_, err := second.Reconcile(t.Context(), request)
						r.g.Expect(err).NotTo(HaveOccurred())
					}
					r.clock.Step(time.Minute)
				}
				return next.RoundTrip(req)
			}
			_, err := r.Reconcile(t.Context(), request)
			r.g.Expect(err).NotTo(HaveOccurred(), "the lost race is no error")
			r.api.around = nil
			r.g.Expect(done).To(BeTrue())
			if tt.late {
				clock.Step(driftInterval)
			}
			_, err = second.Reconcile(t.Context(), request)
			r.g.Expect(err).NotTo(HaveOccurred())
			r.g.Expect(r.Get(t.Context(), request.NamespacedName, r.sync)).To(Succeed())
			r.expectReady(revision)
			r.g.Expect(r.there()).To(Equal(tt.there))
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(len(tt.next)), "it holds what is there")
			c := &v1alpha1.BackupConfiguration{}
			r.g.Expect(r.exists(c, "web")).To(BeTrue())
			r.g.Expect(c.Spec.Sessions[0].Scheduler.Schedule).To(Equal("0 3 * * *"))
		})
	}
}
