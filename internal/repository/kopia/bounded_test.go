package kopia_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestAMuteServer checks that Init and Open report a server as unreachable that accepts connections and never
// answers.
func TestAMuteServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = l.Close() })
	s3 := repository.Storage{
		S3: &repository.S3{
			Endpoint: l.Addr().String(), Bucket: "bucket", AccessKey: "k", SecretKey: "s", Region: "us-east-1",
			Plain: true,
		},
	}
	g, d := NewWithT(t), kopia.WithAnswer(kopia.Driver{}, time.Second)
	_, err = d.Open(t.Context(), enginetest.Repo(t, s3))
	g.Expect(err).To(MatchError(repository.ErrUnreachable))
	g.Expect(err).To(MatchError(ContainSubstring("no answer within 1s")))
	g.Expect(d.Init(t.Context(), enginetest.Repo(t, s3))).To(MatchError(repository.ErrUnreachable))
}

// TestMaxConnections counts the requests that a server handles at a time.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		max   int
		least int64
		most  int64
	}{
		"one":       {max: 1, least: 1, most: 1},
		"unbounded": {max: 0, least: 2, most: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			s3 := enginetest.StartS3(t)
			var now, most atomic.Int64
			server := s3.Endpoint
			to := &httputil.ReverseProxy{Director: func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", server }}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("list-type") == "" { // a listing is not held back
					n := now.Add(1)
					defer now.Add(-1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
				}
				to.ServeHTTP(w, r)
			}))
			t.Cleanup(proxy.Close)
			s3.Endpoint = proxy.Listener.Addr().String()
			r := enginetest.Repo(t, repository.Storage{S3: &s3, MaxConnections: c.max})
			g.Expect(kopia.Driver{}.Init(ctx, r)).To(Succeed())
			src := t.TempDir()
			enginetest.Incompressible(t, src, 40, 3<<20)
			e := enginetest.Open(t, kopia.Driver{}, r)
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Parallel: 4})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = e.Verify(ctx, s.ID, 100)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(most.Load()).To(And(BeNumerically(">=", c.least), BeNumerically("<=", c.most)))
		})
	}
}

// TestS3WithTheIdentityOfThePod checks that, without keys, the keys of the cloud are used.
func TestS3WithTheIdentityOfThePod(t *testing.T) {
	g := NewWithT(t)
	cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"AccessKeyId": enginetest.S3AccessKey, "SecretAccessKey": enginetest.S3SecretKey,
			"Expiration": time.Now().Add(time.Hour),
		})
	}))
	t.Cleanup(cloud.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", cloud.URL)
	s3 := enginetest.StartS3(t)
	s3.AccessKey, s3.SecretKey, s3.Ambient = "", "", true
	r := enginetest.Repo(t, repository.Storage{S3: &s3})
	g.Expect(kopia.Driver{}.Init(t.Context(), r)).To(Succeed())
	enginetest.Open(t, kopia.Driver{}, r)
}
