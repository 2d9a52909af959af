package scrape_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cairn-backup/cairn/internal/kube/scrape"
)

// server answers as an API server that knows one token, whose user is allowed to get /metrics.
type server struct {
	asked, judged atomic.Int64
	mu            sync.Mutex
	down          error
	gone          bool          // the user lost the right
	hold          chan struct{} // not nil: an answer waits until it is closed
	strangers     bool          // hold only the answers to strangers
}

// Who implements scrape.Reviewer.
func (s *server) Who(_ context.Context, token string) (*authenticationv1.UserInfo, error) {
	s.asked.Add(1)
	s.mu.Lock()
	hold := s.hold
	if s.strangers && token == "good" {
		hold = nil
	}
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil || token != "good" && token != "other" {
		return nil, s.down
	}
	return &authenticationv1.UserInfo{Username: token}, nil
}

// Allowed implements scrape.Reviewer.
func (s *server) Allowed(_ context.Context, who *authenticationv1.UserInfo, verb, path string) (bool, error) {
	s.judged.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return who.Username == "good" && !s.gone && verb == "get" && path == "/metrics", nil
}

// rig is a guard before a page.
type rig struct {
	server  *server
	clock   *clocktesting.FakePassiveClock
	handler http.Handler
	served  atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{server: &server{}, clock: clocktesting.NewFakePassiveClock(time.Unix(1_790_000_000, 0))}
	handler, err := scrape.New(r.server, r.clock).Wrap(logr.Discard(), http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { r.served.Add(1) }))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	r.handler = handler
	return r
}

func (r *rig) get(t *testing.T, path, authorization string) int {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, request)
	return w.Code
}

func TestOnlyThoseMayReadWhomTheAPIServerLets(t *testing.T) {
	t.Parallel()
	for title, tt := range map[string]struct {
		path, authorization string
		down                error
		want                int
	}{
		"the right token":           {"/metrics", "Bearer good", nil, http.StatusOK},
		"in lower case":             {"/metrics", "bearer good", nil, http.StatusOK},
		"another page":              {"/debug/pprof/heap", "Bearer good", nil, http.StatusForbidden},
		"a user without the right":  {"/metrics", "Bearer other", nil, http.StatusForbidden},
		"a wrong token":             {"/metrics", "Bearer wrong", nil, http.StatusUnauthorized},
		"no token":                  {"/metrics", "", nil, http.StatusUnauthorized},
		"an empty token":            {"/metrics", "Bearer ", nil, http.StatusUnauthorized},
		"another scheme":            {"/metrics", "Basic good", nil, http.StatusUnauthorized},
		"a huge token":              {"/metrics", "Bearer " + strings.Repeat("x", 1<<20), nil, http.StatusUnauthorized},
		"the API server is away":    {"/metrics", "Bearer good", errors.New("away"), http.StatusServiceUnavailable},
		"it is away, without token": {"/metrics", "", errors.New("away"), http.StatusUnauthorized},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			g, r := NewWithT(t), newRig(t)
			r.server.down = tt.down
			g.Expect(r.get(t, tt.path, tt.authorization)).To(Equal(tt.want))
			g.Expect(r.served.Load() == 1).To(Equal(tt.want == http.StatusOK))
		})
	}
}

func TestAnAnswerCountsForAMinute(t *testing.T) {
	t.Parallel()
	g, r := NewWithT(t), newRig(t)
	for range 3 {
		g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusOK))
		g.Expect(r.get(t, "/metrics", "Bearer wrong")).To(Equal(http.StatusUnauthorized))
	}
	g.Expect(r.server.asked.Load()).To(BeEquivalentTo(2), "once for each token")
	r.server.gone = true
	r.clock.SetTime(r.clock.Now().Add(59 * time.Second))
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusOK))
	r.clock.SetTime(r.clock.Now().Add(2 * time.Second))
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusForbidden), "the right was taken")
}

func TestAnAPIServerThatWasAwayIsAskedAgain(t *testing.T) {
	t.Parallel()
	g, r := NewWithT(t), newRig(t)
	r.server.down = errors.New("away")
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusServiceUnavailable))
	r.server.down = nil
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusOK))
}

// Anybody who reaches the address can send tokens. They must not fill the memory, nor push out who is allowed to read.
func TestManyStrangersPushNobodyOut(t *testing.T) {
	t.Parallel()
	g, r := NewWithT(t), newRig(t)
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusOK))
	for i := range 5000 {
		g.Expect(r.get(t, "/metrics", fmt.Sprint("Bearer wrong", i))).To(Equal(http.StatusUnauthorized))
	}
	asked := r.server.asked.Load()
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusOK))
	g.Expect(r.server.asked.Load()).To(Equal(asked), "its answer is still known")
}

// from is like get from another address.
func (r *rig) from(t *testing.T, address, authorization string) int {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	request.RemoteAddr = address
	request.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, request)
	return w.Code
}

// flood lets strangers hold as many questions as they can, until release.
func (r *rig) flood(t *testing.T, addresses ...string) (release func()) {
	t.Helper()
	hold := make(chan struct{})
	r.server.mu.Lock()
	r.server.hold, r.server.strangers = hold, true
	r.server.mu.Unlock()
	before := r.server.asked.Load()
	var waiting sync.WaitGroup
	var busy atomic.Int64
	for i := range 20 {
		waiting.Go(func() {
			if r.from(t, addresses[i%len(addresses)], fmt.Sprint("Bearer wrong", i)) == http.StatusServiceUnavailable {
				busy.Add(1)
			}
		})
	}
	g := NewWithT(t)
	g.Eventually(func() int64 { return busy.Load() + r.server.asked.Load() - before }, "10s").
		Should(BeEquivalentTo(20), "each is refused or waits for its answer")
	g.Expect(r.server.asked.Load()-before).To(BeNumerically("<=", 4), "the API server is asked little")
	return func() {
		close(hold)
		waiting.Wait()
	}
}

func TestAFloodOfStrangersKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	const prometheus, stranger, another = "10.0.0.1:1000", "10.0.0.2:2000", "10.0.0.3:3000"
	for title, tt := range map[string]struct {
		known bool // the token was let in before, and its answer no longer counts
		from  []string
	}{
		"from everywhere, of a token that was let in": {true, []string{stranger, another, prometheus}},
		"from one address, of a token that is new":    {false, []string{stranger}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			g, r := NewWithT(t), newRig(t)
			if tt.known {
				g.Expect(r.from(t, prometheus, "Bearer good")).To(Equal(http.StatusOK))
				r.clock.SetTime(r.clock.Now().Add(2 * time.Minute))
			}
			release := r.flood(t, tt.from...)
			defer release()
			g.Expect(r.from(t, prometheus, "Bearer good")).To(Equal(http.StatusOK))
		})
	}
}

func TestTheAPIServerIsAskedLittleAtOnce(t *testing.T) {
	t.Parallel()
	g, r := NewWithT(t), newRig(t)
	r.server.hold = make(chan struct{})
	var waiting sync.WaitGroup
	for i := range 4 {
		address := fmt.Sprintf("10.0.0.%d:1", i%2)
		waiting.Go(func() { _ = r.from(t, address, fmt.Sprint("Bearer wrong", i)) })
	}
	g.Eventually(r.server.asked.Load, "10s").Should(BeEquivalentTo(4), "four questions wait for their answers")
	g.Expect(r.get(t, "/metrics", "Bearer one-more")).To(Equal(http.StatusServiceUnavailable))
	close(r.server.hold)
	waiting.Wait()
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusOK))
}
