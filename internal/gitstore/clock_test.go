package gitstore

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// instant is a clock that only records its sleeps.
type instant struct {
	mu     sync.Mutex
	sleeps []time.Duration
}

func (c *instant) Now() time.Time { return when }

func (c *instant) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sleeps = append(c.sleeps, d)
	return ctx.Err()
}

// ticking is a clock that advances a second whenever it is read.
type ticking struct {
	instant
	reads int
}

func (c *ticking) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	return when.Add(time.Duration(c.reads) * time.Second)
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	f := &faults{}
	r := newRemote(t, withMiddleware(f.middleware))
	clock := &instant{}
	s := r.open(t, func(o *Options) {
		o.Clock, o.Limits.Attempts, o.Jitter = clock, 4, rand.NewChaCha8([32]byte{1})
	})
	other := r.open(t)
	var n atomic.Int32
	f.next(post, 1000, nil)
	f.do = func(next http.Handler, w http.ResponseWriter, req *http.Request) {
		if i := n.Add(1); i%2 == 1 { // ours; the other's own post is even
			_, err := other.Update(ctx, put(map[string]string{record(int(i)): "x"}))
			g.Expect(err).NotTo(HaveOccurred())
		}
		next.ServeHTTP(w, req)
	}
	_, err := s.Update(ctx, put(map[string]string{record(100): "mine"}))
	g.Expect(err).To(MatchError(errMoved))
	g.Expect(clock.sleeps).To(HaveLen(3))
	for i, d := range clock.sleeps {
		g.Expect(d).To(BeNumerically(">=", firstPause<<i/2))
		g.Expect(d).To(BeNumerically("<=", firstPause<<i))
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Update(short, put(map[string]string{record(100): "mine"}))
	g.Expect(err).To(MatchError(context.Canceled))
}
