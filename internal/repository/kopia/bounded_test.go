package kopia_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync"
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

// meeting counts the requests that run at a time. A request ends when its answer begins: the client can send the next
// as soon as it has the answer, before the handler of the server returns.
type meeting struct {
	mu        sync.Mutex
	now, most int
	met       chan struct{} // closed when two requests ran at a time
}

func (m *meeting) begin() (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now++
	if m.most = max(m.most, m.now); m.most > 1 {
		select {
		case <-m.met:
		default:
			close(m.met)
		}
	}
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.now--
	})
}

// answer calls end before the first byte of an answer.
type answer struct {
	http.ResponseWriter
	end func()
}

func (a answer) WriteHeader(code int) {
	a.end()
	a.ResponseWriter.WriteHeader(code)
}

func (a answer) Write(b []byte) (int, error) {
	a.end()
	return a.ResponseWriter.Write(b)
}

// TestMaxConnections counts the requests that a server handles at a time. Without a limit, requests wait for another,
// so that they meet however slow the machine is.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"one": 1, "unbounded": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			s3 := enginetest.StartS3(t)
			m := meeting{met: make(chan struct{})}
			var wait atomic.Bool
			server := s3.Endpoint
			to := &httputil.ReverseProxy{Director: func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", server }}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("list-type") != "" { // a listing is not held back
					to.ServeHTTP(w, r)
					return
				}
				end := m.begin()
				defer end()
				if wait.Load() && r.Method == http.MethodGet {
					select {
					case <-m.met:
					case <-time.After(2 * time.Minute):
						t.Error("no second request within two minutes")
						wait.Store(false)
					}
				}
				to.ServeHTTP(answer{w, end}, r)
			}))
			t.Cleanup(proxy.Close)
			s3.Endpoint = proxy.Listener.Addr().String()
			r := enginetest.Repo(t, repository.Storage{S3: &s3, MaxConnections: limit})
			g.Expect(kopia.Driver{}.Init(ctx, r)).To(Succeed())
			src := t.TempDir()
			enginetest.Incompressible(t, src, 40, 3<<20)
			e := enginetest.Open(t, kopia.Driver{}, r)
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Parallel: 4})
			g.Expect(err).NotTo(HaveOccurred())
			wait.Store(limit == 0)
			_, err = e.Verify(ctx, s.ID, 100)
			g.Expect(err).NotTo(HaveOccurred())
			m.mu.Lock()
			defer m.mu.Unlock()
			if limit > 0 {
				g.Expect(m.most).To(Equal(limit))
			} else {
				g.Expect(m.most).To(BeNumerically(">", 1))
			}
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
