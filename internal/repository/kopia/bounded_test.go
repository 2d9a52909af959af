package kopia_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
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
			Plain: true, Egress: egress.Anywhere(),
		},
	}
	g, d := NewWithT(t), kopia.WithAnswer(kopia.Driver{}, time.Second)
	_, err = d.Open(t.Context(), enginetest.Repo(t, s3))
	g.Expect(err).To(MatchError(repository.ErrUnreachable))
	g.Expect(err).To(MatchError(ContainSubstring("no answer within 1s")))
	g.Expect(d.Init(t.Context(), enginetest.Repo(t, s3))).To(MatchError(repository.ErrUnreachable))
}

// counted counts the requests that run at a time, but for listings, which are not limited. A server could not count
// them: it learns late that a client has given a request up and sent the next.
type counted struct {
	blob.Storage
	requests *requests
}

type requests struct {
	t         *testing.T
	mu        sync.Mutex
	now, most int
	met       chan struct{} // closed when two requests ran at a time
	wait      atomic.Bool   // makes a request for a pack of file contents wait for another
}

func (r *requests) begin(id blob.ID) (end func()) {
	r.mu.Lock()
	r.now++
	if r.now == 2 && r.most < 2 {
		close(r.met)
	}
	r.most = max(r.most, r.now)
	r.mu.Unlock()
	if r.wait.Load() && strings.HasPrefix(string(id), "p") {
		select {
		case <-r.met:
		case <-time.After(2 * time.Minute):
			r.t.Error("no second request within two minutes")
			r.wait.Store(false)
		}
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.now--
	}
}

func (c counted) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	defer c.requests.begin(id)()
	return c.Storage.GetBlob(ctx, id, offset, length, out)
}

func (c counted) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	defer c.requests.begin("")()
	return c.Storage.GetMetadata(ctx, id)
}

func (c counted) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opts blob.PutOptions) error {
	defer c.requests.begin("")()
	return c.Storage.PutBlob(ctx, id, data, opts)
}

func (c counted) DeleteBlob(ctx context.Context, id blob.ID) error {
	defer c.requests.begin("")()
	return c.Storage.DeleteBlob(ctx, id)
}

// TestMaxConnections counts the requests that run at a time. Without a limit, requests wait for another, so that they
// meet however slow the machine is.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"one": 1, "unbounded": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			s3 := enginetest.StartS3(t)
			r := enginetest.Repo(t, repository.Storage{S3: &s3, MaxConnections: limit})
			seen := &requests{t: t, met: make(chan struct{})}
			d := kopia.WithBelow(kopia.Driver{}, func(st blob.Storage) blob.Storage { return counted{st, seen} })
			g.Expect(d.Init(ctx, r)).To(Succeed())
			src := t.TempDir()
			enginetest.Incompressible(t, src, 40, 3<<20)
			e := enginetest.Open(t, d, r)
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Parallel: 4})
			g.Expect(err).NotTo(HaveOccurred())
			seen.wait.Store(limit == 0)
			_, err = e.Verify(ctx, s.ID, 100)
			g.Expect(err).NotTo(HaveOccurred())
			seen.mu.Lock()
			defer seen.mu.Unlock()
			if limit > 0 {
				g.Expect(seen.most).To(Equal(limit))
			} else {
				g.Expect(seen.most).To(BeNumerically(">", 1))
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
