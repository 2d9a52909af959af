package backend_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

// TestS3Errors: for each mistake every operation returns its kind, within the time for a status, without a key.
func TestS3Errors(t *testing.T) {
	good := enginetest.StartS3(t)
	for name, c := range map[string]struct {
		change func(*repository.S3)
		want   error
		mute   bool // The store's own deadline ends the call.
	}{
		"an unknown key": {
			change: func(s *repository.S3) { s.AccessKey = "AKIANOBODY" },
			want:   repository.ErrBadCredentials,
		},
		"a wrong secret": {
			change: func(s *repository.S3) { s.SecretKey = "wrong-secret" },
			want:   repository.ErrBadCredentials,
		},
		"a missing bucket": {change: func(s *repository.S3) { s.Bucket = "missing" }, want: repository.ErrNoBucket},
		"nobody listens": {
			change: func(s *repository.S3) { s.Endpoint = "127.0.0.1:1" },
			want:   repository.ErrUnreachable,
		},
		"an unknown host": {
			change: func(s *repository.S3) { s.Endpoint = "does-not-exist.invalid:9000" },
			want:   repository.ErrUnreachable,
		},
		"TLS to a plain server": {change: func(s *repository.S3) { s.Plain = false }, want: repository.ErrUnreachable},
		"a server that is mute": {
			change: func(s *repository.S3) { s.Endpoint = mute(t) }, want: repository.ErrUnreachable,
			mute: true,
		},
	} {
		o := good
		c.change(&o)
		for op, call := range map[string]func(context.Context, backend.Store) error{
			"get": func(ctx context.Context, s backend.Store) error {
				_, err := s.Get(ctx, "metadata.yaml")
				return err
			},
			"put": func(ctx context.Context, s backend.Store) error {
				return s.Put(ctx, "metadata.yaml", []byte("x"))
			},
			"list": func(ctx context.Context, s backend.Store) error { _, err := s.List(ctx, ""); return err },
			"put if absent": func(ctx context.Context, s backend.Store) error {
				return s.PutIfAbsent(ctx, "metadata.yaml", []byte("x"))
			},
		} {
			t.Run(name+"/"+op, func(t *testing.T) {
				t.Parallel()
				g := NewWithT(t)
				s, err := backend.Open(repository.Storage{S3: &o})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(backend.Within(s)).To(Equal(15*time.Second), "the following calls wait less or more")
				backend.SetWithin(s, time.Minute)
				if c.mute {
					backend.SetWithin(s, time.Second)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				err = call(ctx, s)
				g.Expect(err).To(MatchError(c.want))
				if c.mute {
					g.Expect(err).To(MatchError(ContainSubstring("no answer within 1s")))
				}
				g.Expect(ctx.Err()).NotTo(HaveOccurred(), "an answer in time")
				for _, secret := range []string{o.SecretKey, good.SecretKey, o.AccessKey} {
					g.Expect(err.Error()).NotTo(ContainSubstring(secret))
				}
			})
		}
	}
}

// mute accepts connections and never answers.
func mute(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String() // the kernel completes the handshakes
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		s     repository.Storage
		fails string
	}{
		"no storage": {repository.Storage{}, "exactly one kind of storage"},
		"a CA bundle without a certificate": {repository.Storage{S3: &repository.S3{
			Endpoint: "e", Bucket: "b", AccessKey: "k", SecretKey: "s", CA: []byte("nonsense"),
		}}, "CA bundle"},
		"a prefix that climbs": {repository.Storage{Local: &repository.Local{Path: "/x", Prefix: "../y"}}, `".."`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := backend.Open(c.s)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.fails)))
		})
	}
}

// TestS3WithoutASecret: the identity of the pod is used. Without one, the error says so.
func TestS3WithoutASecret(t *testing.T) {
	open := func(t *testing.T) backend.Store {
		t.Helper()
		o := enginetest.StartS3(t)
		o.AccessKey, o.SecretKey, o.Ambient = "", "", true
		s, err := backend.Open(repository.Storage{S3: &o})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return s
	}
	t.Run("with an identity", func(t *testing.T) {
		cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"Expiration":%q}`, enginetest.S3AccessKey,
				enginetest.S3SecretKey, time.Now().Add(time.Hour).Format(time.RFC3339))
		}))
		t.Cleanup(cloud.Close)
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", cloud.URL)
		NewWithT(t).Expect(open(t).Put(t.Context(), "x", []byte("x"))).To(Succeed())
	})
	t.Run("without one", func(t *testing.T) {
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1")
		err := open(t).Put(t.Context(), "x", []byte("x"))
		g := NewWithT(t)
		g.Expect(err).To(MatchError(repository.ErrBadCredentials))
		g.Expect(err).To(MatchError(ContainSubstring("the pod has no identity of a cloud")))
	})
}

// TestS3TLS: a private authority is trusted only if it is given, and any certificate only on request.
func TestS3TLS(t *testing.T) {
	cert, key, ca := enginetest.Certificate(t)
	good := enginetest.StartS3(t, "--cert", cert, "--key", key)
	_, _, otherCA := enginetest.Certificate(t)
	for name, c := range map[string]struct {
		ca       []byte
		insecure bool
		want     error
	}{
		"its authority is given":     {ca: ca},
		"none is given":              {want: repository.ErrUntrusted},
		"another authority is given": {ca: otherCA, want: repository.ErrUntrusted},
		"no authority, but insecure": {insecure: true},
		"a wrong one, but insecure":  {ca: otherCA, insecure: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := good
			o.CA, o.InsecureTLS = c.ca, c.insecure
			s, err := backend.Open(repository.Storage{S3: &o})
			g.Expect(err).NotTo(HaveOccurred())
			err = s.Put(t.Context(), "x", []byte("x"))
			if c.want != nil {
				g.Expect(err).To(And(MatchError(c.want), MatchError(ContainSubstring("x509"))))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

// TestS3ObjectLock: Amazon refuses a file without a checksum if the Object Lock of the bucket has a default retention.
func TestS3ObjectLock(t *testing.T) {
	g, ctx, o := NewWithT(t), t.Context(), enginetest.StartS3(t)
	to := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: o.Endpoint})
		r.Out.Host = r.In.Host // it is signed
	}}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.Header.Get("Content-Md5") == "" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<Error><Code>InvalidRequest</Code></Error>")
			return
		}
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	locked := o
	locked.Endpoint = proxy.Listener.Addr().String()
	s, err := backend.Open(repository.Storage{S3: &locked})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Put(ctx, "metadata.yaml", []byte("x"))).To(Succeed())
	g.Expect(s.PutIfAbsent(ctx, "repository.yaml", []byte("x"))).To(Succeed())
	g.Expect(s.List(ctx, "")).To(HaveLen(2))
}

// TestS3Condition: a server that knows If-None-Match decides between concurrent writes of two clients. versitygw
// 1.0.14 accepts the header and ignores it, so a proxy in front of it decides. Another proxy refuses the header, as
// older servers do.
func TestS3Condition(t *testing.T) {
	for name, c := range map[string]struct {
		code   int
		answer string
		want   int64
	}{
		"a server that knows the condition": {http.StatusPreconditionFailed, "PreconditionFailed", 1},
		"a server that refuses the header":  {http.StatusNotImplemented, "NotImplemented", 8},
	} {
		t.Run(name, func(t *testing.T) {
			g, ctx := NewWithT(t), t.Context()
			o := enginetest.StartS3(t)
			var writes sync.Map
			gate := make(chan struct{}) // holds the writes until all clients have looked
			var waiting atomic.Int64
			to := &httputil.ReverseProxy{
				Director: func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", o.Endpoint },
			}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*" {
					if waiting.Add(1) == 8 {
						close(gate)
					}
					<-gate
					if _, there := writes.LoadOrStore(r.URL.Path, true); there || c.answer == "NotImplemented" {
						w.WriteHeader(c.code)
						fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", c.answer)
						return
					}
				}
				to.ServeHTTP(w, r)
			}))
			defer proxy.Close()
			o2 := o
			o2.Endpoint = strings.TrimPrefix(proxy.URL, "http://")
			s, err := backend.Open(repository.Storage{S3: &o2})
			g.Expect(err).NotTo(HaveOccurred())
			var won atomic.Int64
			var wg sync.WaitGroup
			errs := make(chan error, 8)
			for range 8 {
				wg.Go(func() {
					err := s.PutIfAbsent(ctx, "repository.yaml", []byte("x"))
					if err == nil {
						won.Add(1)
					} else if !errors.Is(err, backend.ErrExists) {
						errs <- err
					}
				})
			}
			wg.Wait()
			g.Expect(errs).To(BeEmpty())
			g.Expect(won.Load()).To(Equal(c.want))
		})
	}
}
