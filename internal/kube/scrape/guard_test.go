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
}

// Who implements scrape.Reviewer.
func (s *server) Who(_ context.Context, token string) (*authenticationv1.UserInfo, error) {
	s.asked.Add(1)
	if s.hold != nil {
		<-s.hold
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

func TestTheAPIServerIsAskedLittleAtOnce(t *testing.T) {
	t.Parallel()
	g, r := NewWithT(t), newRig(t)
	r.server.hold = make(chan struct{})
	var waiting sync.WaitGroup
	for i := range 4 {
		waiting.Go(func() { _ = r.get(t, "/metrics", fmt.Sprint("Bearer wrong", i)) })
	}
	g.Eventually(r.server.asked.Load, "10s").Should(BeEquivalentTo(4), "four questions wait for their answers")
	g.Expect(r.get(t, "/metrics", "Bearer one-more")).To(Equal(http.StatusServiceUnavailable))
	close(r.server.hold)
	waiting.Wait()
	g.Expect(r.get(t, "/metrics", "Bearer good")).To(Equal(http.StatusOK))
}
