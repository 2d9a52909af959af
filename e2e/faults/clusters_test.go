package faults

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	waves   = 4
	perWave = 25
)

// crossing lets the pushes of two writers go on only together, so that they race for the branch. Each writer has a URL
// of its own: /<writer>/<repository>.
type crossing struct {
	mu      sync.Mutex
	missing map[string]bool
	open    chan struct{}
}

// expect arms the crossing for the next push of each writer.
func (c *crossing) expect(writers ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing, c.open = map[string]bool{}, make(chan struct{})
	for _, w := range writers {
		c.missing[w] = true
	}
}

// crossed reports whether all expected writers have met.
func (c *crossing) crossed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.open:
		return true
	default:
		return false
	}
}

// arrive returns when all expected writers are here, or at once for a writer that is not expected.
func (c *crossing) arrive(r *http.Request, writer string) {
	c.mu.Lock()
	open := c.open
	if !c.missing[writer] {
		c.mu.Unlock()
		return
	}
	delete(c.missing, writer)
	if len(c.missing) == 0 {
		close(open)
	}
	c.mu.Unlock()
	select {
	case <-open:
	case <-r.Context().Done():
	case <-time.After(50 * time.Second): // less than the writer waits; the test then fails
	}
}

func (c *crossing) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writer, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		r.URL.Path = "/" + path
		if r.Method == http.MethodPost && strings.HasSuffix(path, "/git-receive-pack") {
			c.arrive(r, writer)
		}
		next.ServeHTTP(w, r)
	})
}

// writer is a cluster that writes to the shared branch.
type writer struct {
	*cluster
	name     string
	ledger   *v1alpha1.Ledger
	sessions []*v1alpha1.BackupSession
}

// Two managers of two clusters write a hundred records each to one branch, and their pushes meet: nothing is lost and
// nothing is there twice.
func TestTwoManagers(t *testing.T) {
	begun(t)
	g := NewWithT(t)
	c := &crossing{}
	server := newGitServer(t, c.wrap)
	shared := server.repository(t, "shared")
	writers := []*writer{{cluster: &east, name: "east"}, {cluster: &west, name: "west"}}
	uids := map[types.UID]bool{}
	for _, w := range writers {
		url := strings.Replace(shared.url, "/shared.git", "/"+w.name+"/shared.git", 1)
		w.ledger = w.cluster.ledger(t, w.Namespace(t, nil), w.name, url)
		uids[w.uid(t)] = true
	}
	g.Expect(uids).To(HaveLen(2), "two clusters")
	c.expect("east", "west") // also the branch is made by two at once
	for _, w := range writers {
		startManager(t, w.cluster, t.TempDir())
	}
	for wave := range waves {
		for _, w := range writers {
			w.recorded(t)
		}
		g.Expect(c.crossed()).To(BeTrue(), "the pushes before wave %d met", wave)
		c.expect("east", "west")
		for _, w := range writers {
			w.wave(t, wave)
		}
	}
	for _, w := range writers {
		w.recorded(t)
	}
	g.Expect(c.crossed()).To(BeTrue(), "the pushes of the last wave met")
	for _, w := range writers {
		shared.check(t, w.name, w.sessions...)
		g.Expect(w.ledger.Status.Recorded).To(BeEquivalentTo(waves*perWave), "%s counts its own", w.name)
		g.Expect(len(shared.commits(w.name))).To(BeNumerically(">=", waves), "%s has written several times", w.name)
	}
	g.Expect(lines(shared.git("ls-tree", "--name-only", branch, "clusters/"))).
		To(ConsistOf("clusters/east", "clusters/west"))
}

func (w *writer) wave(t testing.TB, wave int) {
	t.Helper()
	for i := range perWave {
		w.sessions = append(w.sessions, w.refused(t, w.ledger.Namespace, fmt.Sprintf("run-%d-%02d", wave, i)))
	}
}

// recorded waits until all records so far are in the branch.
func (w *writer) recorded(t testing.TB) {
	t.Helper()
	NewWithT(t).Eventually(func(g Gomega) {
		w.settled(g, t, w.ledger, w.sessions...)
		g.Expect(w.ledger.Status.LastPushedCommit).NotTo(BeEmpty())
	}, patience, glance).Should(Succeed(), "%s has recorded %d", w.name, len(w.sessions))
}
