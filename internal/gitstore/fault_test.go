package gitstore

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// faults is a middleware that disturbs the next matching requests.
type faults struct {
	mu    sync.Mutex
	match string
	times int
	do    func(next http.Handler, w http.ResponseWriter, r *http.Request)
}

func (f *faults) next(match string, times int, do func(http.Handler, http.ResponseWriter, *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.match, f.times, f.do = match, times, do
}

func (f *faults) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		do := f.do
		hit := f.times > 0 && strings.Contains(r.Method+" "+r.URL.String(), f.match)
		if hit {
			f.times--
		}
		f.mu.Unlock()
		if hit {
			do(next, w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func status(code int, text string) func(http.Handler, http.ResponseWriter, *http.Request) {
	return func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, text, code)
	}
}

// dropped lets the server act and then loses its reply, all of it or half.
func dropped(keep int) func(http.Handler, http.ResponseWriter, *http.Request) {
	return func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		_, _ = w.Write(rec.Body.Bytes()[:min(keep, rec.Body.Len())])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

const (
	post  = "POST /repo.git/git-receive-pack"
	recvd = "git-receive-pack" // the listing and the post
)

func TestLostReply(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		match string
		times int
		do    func(http.Handler, http.ResponseWriter, *http.Request)
		want  error
	}{
		"nothing of the reply arrives": {post, 1, dropped(0), nil},
		"half of the reply arrives":    {post, 1, dropped(9), nil},
		"a proxy answers instead": {post, 1, func(n http.Handler, w http.ResponseWriter, r *http.Request) {
			n.ServeHTTP(httptest.NewRecorder(), r)
			http.Error(w, "gateway timeout", http.StatusGatewayTimeout)
		}, nil},
		"an empty reply with status 200": {post, 1, func(n http.Handler, _ http.ResponseWriter, r *http.Request) {
			n.ServeHTTP(httptest.NewRecorder(), r)
		}, nil},
		"and then the server is away": {post, 1, nil, ErrOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			f := &faults{}
			r := newRemote(t, withMiddleware(f.middleware))
			s := r.open(t)
			_, err := s.Update(ctx, put(map[string]string{record(2): "before"}))
			g.Expect(err).NotTo(HaveOccurred())
			do := tc.do
			if do == nil {
				do = func(n http.Handler, w http.ResponseWriter, r *http.Request) {
					f.next(recvd, 1, status(503, "down"))
					dropped(0)(n, w, r)
				}
			}
			f.next(tc.match, tc.times, do)
			want := map[string]string{record(1): "one", record(2): "before"}
			res, err := s.Update(ctx, put(want))
			if tc.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(res.Outcome).To(Equal(alreadyThere))
				g.Expect(s.LastPushed().String()).To(Equal(r.tip()))
			} else {
				g.Expect(err).To(MatchError(tc.want))
			}
			// Repeating is safe and finds the record.
			res, err = s.Update(ctx, put(want))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Outcome).To(Equal(Unchanged))
			r.check(g, want)
			g.Expect(s.LastPushed().String()).To(Equal(r.tip()))
			g.Expect(lines(r.git("rev-list", branch))).To(HaveLen(2))
		})
	}
}

// Somebody else pushes on top between the lost reply and the read-back.
func TestLostReplyThenMoved(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	f := &faults{}
	r := newRemote(t, withMiddleware(f.middleware))
	s, other := r.open(t), r.open(t)
	f.next(post, 1, func(n http.Handler, _ http.ResponseWriter, req *http.Request) {
		n.ServeHTTP(httptest.NewRecorder(), req)
		_, err := other.Update(ctx, put(map[string]string{record(2): "two"}))
		g.Expect(err).NotTo(HaveOccurred())
		panic(http.ErrAbortHandler)
	})
	res, err := s.Update(ctx, put(map[string]string{record(1): "one"}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Outcome).To(Equal(Unchanged))
	r.check(g, map[string]string{record(1): "one", record(2): "two"})
	g.Expect(lines(r.git("rev-list", branch))).To(HaveLen(2))
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		match string
		do    func(http.Handler, http.ResponseWriter, *http.Request)
		want  error
	}{
		"401 on fetch":        {"service=git-upload-pack", status(401, "who are you, "+user+":"+password+"?"), ErrAuth},
		"403 on push":         {post, status(403, "token "+password+" may only read"), ErrAuth},
		"403 on push listing": {"GET /repo.git/info/refs?service=git-receive-pack", status(403, "read-only"), ErrAuth},
		"404 on fetch":        {"service=git-upload-pack", status(404, ""), ErrNoRepository},
		"413 on push":         {post, status(413, "too big"), ErrRefused},
		"429 on fetch":        {"service=git-upload-pack", status(429, "slow down"), ErrUnreachable},
		"500 on push":         {post, status(500, "oops"), ErrUnreachable},
		"login page":          {"service=git-upload-pack", status(200, "<html>sign in</html>"), ErrNoRepository},
		"cut before the push": {
			post, func(http.Handler, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			ErrUnreachable,
		},
		"cut in the listing": {"service=git-upload-pack", dropped(30), ErrUnreachable},
		"redirect to another host": {
			"service=git-upload-pack", func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://elsewhere.invalid/repo.git/info/refs", http.StatusFound)
			}, ErrUnreachable,
		},
		"slower than the limit": {post, func(_ http.Handler, _ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client is gone
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}, ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			f := &faults{}
			r := newRemote(t, withMiddleware(f.middleware))
			s := r.open(t)
			_, err := s.Update(ctx, put(map[string]string{record(0): "zero"}))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.Fetch(ctx)).To(Succeed()) // so that the next Update asks first
			f.next(tc.match, 1, tc.do)
			usual := s.limits.Timeout
			if name == "slower than the limit" {
				s.limits.Timeout = 5 * time.Second
			}
			want := map[string]string{record(0): "zero", record(1): "one"}
			_, err = s.Update(ctx, put(want))
			s.limits.Timeout = usual // what goes well may take its time
			f.next("", 0, nil)
			g.Expect(err).To(MatchError(tc.want))
			g.Expect(err.Error()).NotTo(ContainSubstring(password))
			if strings.HasPrefix(name, "429") {
				var re *RemoteError
				g.Expect(err).To(BeAssignableToTypeOf(re))
				g.Expect(err.(*RemoteError).RetryAfter).To(Equal(7 * time.Second))
			}
			res, err := s.Update(ctx, put(want))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Outcome).To(Equal(accepted))
			r.check(g, want)
		})
	}
}

func TestHookRefuses(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"pre-receive", "update"} {
		for _, overSSH := range []bool{false, true} {
			t.Run(hook, func(t *testing.T) {
				t.Parallel()
				g, ctx := NewWithT(t), t.Context()
				r := newRemote(t)
				change := func(*Options) {}
				if overSSH {
					r.startSSH()
					change = func(o *Options) { o.URL, o.Auth = r.ssh.URL, r.ssh.Auth }
				}
				s := r.open(t, change)
				r.hook(hook, "echo 'records are frozen, see https://bot:tok@x.example/why' >&2\nexit 1\n")
				_, err := s.Update(ctx, put(map[string]string{record(1): "one"}))
				g.Expect(err).To(MatchError(ErrRefused))
				g.Expect(err.Error()).To(ContainSubstring("records are frozen, see https://***@x.example/why"))
				r.check(g, nil)
				r.hook(hook, "exit 0\n")
				res, err := s.Update(ctx, put(map[string]string{record(1): "one"}))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(res.Outcome).To(Equal(accepted))
			})
		}
	}
}

// C git says that a push is too large where hooks write. The caller makes it smaller.
func TestALargePushIsRefusedForItsSize(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	s := newRemote(t, withConfig("receive.maxInputSize=2000")).open(t)
	noise := make([]byte, 4000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	_, err := s.Update(ctx, put(map[string]string{record(1): string(noise)}))
	g.Expect(err).To(And(MatchError(ErrPushTooLarge), MatchError(ErrRefused)))
	_, err = s.Update(ctx, put(map[string]string{record(1): "small"}))
	g.Expect(err).NotTo(HaveOccurred())
}

// The branch moves after the listing and before the pack: only the server's compare-and-swap sees it.
func TestMovedUnderThePush(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	f := &faults{}
	r := newRemote(t, withMiddleware(f.middleware))
	s, other := r.open(t), r.open(t)
	f.next(post, 1, func(n http.Handler, w http.ResponseWriter, req *http.Request) {
		_, err := other.Update(ctx, put(map[string]string{record(2): "two"}))
		g.Expect(err).NotTo(HaveOccurred())
		n.ServeHTTP(w, req)
	})
	res, err := s.Update(ctx, put(map[string]string{record(1): "one"}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Attempts).To(Equal(2))
	r.check(g, map[string]string{record(1): "one", record(2): "two"})
}

// A server that accepts the connection and then stays silent.
func TestSilentServerObeysContext(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "ssh"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = l.Close() }()
			r := newRemote(t)
			s := r.open(t, func(o *Options) {
				o.URL = scheme + "://" + l.Addr().String() + "/repo.git"
				if scheme == "ssh" {
					o.Auth = Auth{
						Network: anywhere{}, Identity: newSSHKey(t),
						KnownHosts: []byte(knownHost(t, l.Addr().String())),
					}
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			start := time.Now()
			err = s.Fetch(ctx)
			g.Expect(err).To(MatchError(ErrUnreachable))
			g.Expect(err).To(MatchError(context.DeadlineExceeded))
			g.Expect(time.Since(start)).To(BeNumerically("<", s.limits.Timeout/2), "the context ends it, not the limit")
		})
	}
}

// A push that the server refused has its answer: no foreign commit on top becomes one of ours, and its removal is none
// of our losses.
func TestARefusedPushIsAnswered(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	s, other := r.open(t), r.open(t)
	_, err := s.Update(ctx, put(map[string]string{record(1): "one"}))
	g.Expect(err).NotTo(HaveOccurred())
	ours := r.tip()
	r.hook("pre-receive", "exit 1\n")
	_, err = s.Update(ctx, put(map[string]string{record(1): "one", record(2): "two"}))
	g.Expect(err).To(MatchError(ErrRefused))
	r.hook("pre-receive", "exit 0\n")
	_, err = other.Update(ctx, put(map[string]string{"README": "hello"}))
	g.Expect(err).NotTo(HaveOccurred())
	res, err := s.Update(ctx, put(map[string]string{record(1): "one"})) // the second record was given up
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Outcome).To(Equal(Unchanged))
	r.git("update-ref", "refs/heads/"+branch, ours)
	_, err = s.Update(ctx, put(map[string]string{record(1): "one", record(3): "three"}))
	g.Expect(err).NotTo(HaveOccurred())
}
