package policysync

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// killAt kills the process before or after the nth write to the API server: from then on it reaches nothing.
func (r *testNamespace) killAt(n int, before bool) (writes *int, dead *bool) {
	writes, dead = new(int), new(bool)
	lost := errors.New("the process was killed")
	r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		r.api.mu.Lock()
		if *dead {
			r.api.mu.Unlock()
			return nil, lost
		}
		write := req.Method != http.MethodGet && req.URL.Query().Get("dryRun") == ""
		if write {
			*writes++
		}
		now := write && *writes == n
		*dead = now
		r.api.mu.Unlock()
		if now && before {
			return nil, lost
		}
		answer, err := next.RoundTrip(req)
		if now && err == nil {
			_ = answer.Body.Close()
			return nil, lost
		}
		return answer, err
	}
	return writes, dead
}

// Whenever the process is killed before or after a write, the next one ends in the same state: nothing is deleted that
// should stay, and nothing forgotten that should go.
func TestKilled(t *testing.T) {
	changed := func(names ...string) map[string]string {
		files := map[string]string{}
		for _, name := range names {
			files["policy/"+name+".yaml"] = storage(name)
		}
		files["policy/w.yaml"] = configuration("web", fmt.Sprintf("0 %d * * *", len(names)))
		return files
	}
	for name, tt := range map[string]struct {
		from, to map[string]string
		consent  bool
		there    string
		entries  int
	}{
		"first revision":        {to: changed("a", "b", "c"), there: "abc", entries: 4},
		"change, add and prune": {from: changed("a", "b"), to: changed("c"), there: "c", entries: 2},
		"prune with a consent":  {from: both, to: another, consent: true, there: "c", entries: 1},
	} {
		run := func(t *testing.T, n int, before bool) (int, bool) {
			r := newRoom(t)
			if tt.from != nil {
				r.push(tt.from)
				r.reconcile()
			}
			revision := r.push(tt.to)
			if tt.consent {
				r.reconcile()
				r.consent(r.sync.Status.Removal.Digest)
			}
			writes, dead := r.killAt(n, before)
			_, _ = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)})
			r.api.around = nil
			r.restart()
			for range 3 {
				r.reconcile()
			}
			r.expectReady(revision)
			r.g.Expect(r.there()).To(Equal(tt.there))
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(tt.entries))
			if c := r.sync.Status.Consent; tt.consent {
				r.g.Expect(c.Complete).To(BeTrue())
			} else {
				r.g.Expect(r.exists(&v1alpha1.BackupConfiguration{}, "web")).To(BeTrue())
			}
			r.g.Expect(r.sync.Finalizers).To(ContainElement(v1alpha1.FinalizerPrune))
			return *writes, *dead
		}
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= 8; n++ {
				for _, before := range []bool{true, false} {
					t.Run(fmt.Sprintf("write %d, before %t", n, before), func(t *testing.T) {
						writes, dead := run(t, n, before)
						NewWithT(t).Expect(dead).To(Equal(writes >= n))
						NewWithT(t).Expect(dead || n > 4).To(BeTrue(), "at least four writes are tried")
					})
				}
			}
		})
	}
}
