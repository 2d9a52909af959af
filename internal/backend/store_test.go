package backend_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

func TestLocal(t *testing.T) {
	conform(t, func(t *testing.T) repository.Storage {
		return repository.Storage{Local: &repository.Local{Path: t.TempDir(), Prefix: "cairn/prod"}}
	})
}

func TestLocalWithoutPrefix(t *testing.T) {
	conform(t, func(t *testing.T) repository.Storage {
		return repository.Storage{Local: &repository.Local{Path: t.TempDir()}}
	})
}

func TestS3(t *testing.T) {
	s3 := enginetest.StartS3(t)
	var n atomic.Int64
	conform(t, func(*testing.T) repository.Storage {
		o := s3
		o.Prefix = fmt.Sprintf("/cairn/prod %d/", n.Add(1))
		return repository.Storage{S3: &o}
	})
}

func TestGCS(t *testing.T) {
	gcs := enginetest.StartGCS(t)
	var n atomic.Int64
	conform(t, func(*testing.T) repository.Storage {
		o := gcs
		o.Prefix = fmt.Sprintf("/cairn/prod %d/", n.Add(1))
		return repository.Storage{GCS: &o}
	})
	t.Run("of several at once one wins", func(t *testing.T) { race(t, repository.Storage{GCS: &gcs}) })
}

func TestGCSWithAKey(t *testing.T) {
	enginetest.OnGCSWithKey(t, func(t *testing.T, gcs repository.GCS) {
		var n atomic.Int64
		conform(t, func(*testing.T) repository.Storage {
			o := gcs
			o.Prefix = fmt.Sprintf("/cairn/prod %d/", n.Add(1))
			return repository.Storage{GCS: &o}
		})
		t.Run("another key", func(t *testing.T) {
			o := gcs
			private, err := rsa.GenerateKey(rand.Reader, 2048)
			g := NewWithT(t)
			g.Expect(err).NotTo(HaveOccurred())
			o.Credentials, err = os.ReadFile(enginetest.GCSKey(t, private))
			g.Expect(err).NotTo(HaveOccurred())
			refuses(t, repository.Storage{GCS: &o}, repository.ErrBadCredentials, 0, string(o.Credentials))
		})
	})
}

func TestAzure(t *testing.T) {
	enginetest.OnAzure(t, func(t *testing.T, azure repository.Azure) {
		var n atomic.Int64
		conform(t, func(*testing.T) repository.Storage {
			o := azure
			o.Prefix = fmt.Sprintf("/cairn/prod %d/", n.Add(1))
			return repository.Storage{Azure: &o}
		})
		t.Run("of several at once one wins", func(t *testing.T) { race(t, repository.Storage{Azure: &azure}) })
		t.Run("another cloud", func(t *testing.T) {
			g, o := NewWithT(t), azure
			o.Prefix, o.EndpointSuffix = "elsewhere", enginetest.AzureGovernment
			s, err := backend.Open(repository.Storage{Azure: &o})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.Put(t.Context(), "a", []byte("x"))).To(Succeed())
			g.Expect(s.Get(t.Context(), "a")).To(BeEquivalentTo("x"))
		})
		t.Run("an unreachable cloud", func(t *testing.T) {
			o := azure
			o.EndpointSuffix = "core.example.com"
			refuses(t, repository.Storage{Azure: &o}, repository.ErrUnreachable, 0, o.Key)
		})
		t.Run("a missing container", func(t *testing.T) {
			o := azure
			o.Container = "missing"
			refuses(t, repository.Storage{Azure: &o}, repository.ErrNoBucket, 0, o.Key)
		})
		t.Run("another key", func(t *testing.T) {
			o := azure
			o.Key = "b3RoZXI="
			// Azure answers AuthenticationFailed, azurite AuthorizationFailure.
			refuses(t, repository.Storage{Azure: &o}, repository.ErrAccessDenied, 0, o.Key, azure.Key)
		})
	})
}

func TestSFTP(t *testing.T) {
	sftp := enginetest.StartSFTP(t)
	var n atomic.Int64
	conform(t, func(*testing.T) repository.Storage {
		o := sftp
		o.Prefix = fmt.Sprintf("/cairn/prod %d/", n.Add(1))
		return repository.Storage{SFTP: &o}
	})
}

func TestSFTPWithAPassword(t *testing.T) {
	o := enginetest.StartSFTP(t)
	o.Identity, o.Password = nil, enginetest.FilesPassword
	s, err := backend.Open(repository.Storage{SFTP: &o})
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Put(t.Context(), "a/b", []byte("x"))).To(Succeed())
	g.Expect(os.ReadFile(filepath.Join(o.Path, "a/b"))).To(BeEquivalentTo("x"), "it lies where its name says")
}

func TestWebDAV(t *testing.T) {
	dav, _ := enginetest.StartWebDAV(t)
	var n atomic.Int64
	conform(t, func(*testing.T) repository.Storage {
		o := dav
		o.Prefix = fmt.Sprintf("/cairn/prod %d/", n.Add(1))
		return repository.Storage{WebDAV: &o}
	})
}

// conform tests what every Store promises.
func conform(t *testing.T, fresh func(*testing.T) repository.Storage) {
	open := func(t *testing.T) backend.Store {
		t.Helper()
		s, err := backend.Open(fresh(t))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return s
	}
	t.Run("a written file is read and replaced", func(t *testing.T) {
		g, ctx, s := NewWithT(t), t.Context(), open(t)
		_, err := s.Get(ctx, "a/b.yaml")
		g.Expect(err).To(MatchError(backend.ErrNotFound))
		g.Expect(s.Put(ctx, "a/b.yaml", []byte("one"))).To(Succeed())
		g.Expect(s.Put(ctx, "a/b.yaml", []byte("two, longer"))).To(Succeed())
		g.Expect(s.Get(ctx, "a/b.yaml")).To(BeEquivalentTo("two, longer"))
		g.Expect(s.Put(ctx, "empty", nil)).To(Succeed())
		g.Expect(s.Get(ctx, "empty")).To(BeEmpty())
	})
	t.Run("a file that exists is not written again", func(t *testing.T) {
		g, ctx, s := NewWithT(t), t.Context(), open(t)
		g.Expect(s.PutIfAbsent(ctx, "x/metadata.yaml", []byte("first"))).To(Succeed())
		g.Expect(s.PutIfAbsent(ctx, "x/metadata.yaml", []byte("second"))).To(MatchError(backend.ErrExists))
		g.Expect(s.Get(ctx, "x/metadata.yaml")).To(BeEquivalentTo("first"))
		g.Expect(s.List(ctx, "")).To(Equal([]string{"x/metadata.yaml"}), "nothing temporary is left")
	})
	t.Run("a list is below a directory, at any depth, sorted", func(t *testing.T) {
		g, ctx, s := NewWithT(t), t.Context(), open(t)
		for _, p := range []string{
			"snap/b/2.yaml", "snap/b/1.yaml", "snap/a.yaml", "snapshot/c", "metadata.yaml",
			"snap/mit leer ü+%.yaml",
		} {
			g.Expect(s.Put(ctx, p, []byte(p))).To(Succeed())
		}
		g.Expect(s.List(ctx, "snap")).
			To(Equal([]string{"snap/a.yaml", "snap/b/1.yaml", "snap/b/2.yaml", "snap/mit leer ü+%.yaml"}))
		g.Expect(s.List(ctx, "")).To(HaveLen(6))
		g.Expect(s.List(ctx, "nowhere")).To(BeEmpty())
		g.Expect(s.Get(ctx, "snap/mit leer ü+%.yaml")).To(BeEquivalentTo("snap/mit leer ü+%.yaml"))
	})
	t.Run("a deletion removes the file and nothing else", func(t *testing.T) {
		g, ctx, s := NewWithT(t), t.Context(), open(t)
		for _, p := range []string{
			"shop/web/kopia/a", "shop/web/kopia/b/c", "shop/web/repository.yaml", "shop/web2/x",
			"shop/w", "metadata.yaml",
		} {
			g.Expect(s.Put(ctx, p, []byte(p))).To(Succeed())
		}
		g.Expect(s.Delete(ctx, "shop/w")).To(Succeed())
		g.Expect(s.Delete(ctx, "shop/w")).To(Succeed(), "a missing file is no error")
		g.Expect(s.DeleteAll(ctx, "shop/web/kopia")).To(Succeed())
		g.Expect(s.List(ctx, "")).To(Equal([]string{"metadata.yaml", "shop/web/repository.yaml", "shop/web2/x"}))
		g.Expect(s.DeleteAll(ctx, "shop/web")).To(Succeed())
		g.Expect(s.DeleteAll(ctx, "shop/web")).To(Succeed())
		g.Expect(s.List(ctx, "")).To(Equal([]string{"metadata.yaml", "shop/web2/x"}))
		for _, p := range []string{"", ".", "..", "../x", "/", "a/../.."} {
			g.Expect(s.Delete(ctx, p)).NotTo(Succeed(), "%q", p)
			g.Expect(s.DeleteAll(ctx, p)).NotTo(Succeed(), "%q", p)
		}
		g.Expect(s.List(ctx, "")).To(HaveLen(2))
	})
	t.Run("paths that leave the prefix are refused", func(t *testing.T) {
		g, ctx, s := NewWithT(t), t.Context(), open(t)
		for _, p := range []string{
			"", ".", "..", "../x", "a/../../x", "a/../b", "/etc/passwd", "a//b", "a/", "./a", "a\nb",
			"a\xff", strings.Repeat("a", 1000),
		} {
			_, err := s.Get(ctx, p)
			g.Expect(err).To(And(HaveOccurred(), Not(MatchError(backend.ErrNotFound))), "%q", p)
			g.Expect(s.Put(ctx, p, nil)).NotTo(Succeed(), "%q", p)
			g.Expect(s.PutIfAbsent(ctx, p, nil)).NotTo(Succeed(), "%q", p)
			if p != "" {
				_, err = s.List(ctx, p)
				g.Expect(err).To(HaveOccurred(), "%q", p)
			}
		}
		g.Expect(s.List(ctx, "")).To(BeEmpty())
	})
	t.Run("sizes are bounded", func(t *testing.T) {
		g, s := NewWithT(t), open(t)
		g.Expect(s.Put(t.Context(), "big", make([]byte, 5<<20))).To(MatchError(ContainSubstring("the limit is")))
	})
	t.Run("a cancelled call returns the cancellation", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := open(t).Get(ctx, "x")
		NewWithT(t).Expect(err).To(MatchError(repository.ErrCanceled))
	})
}

// TestRace: of several concurrent writes of a file that must not exist, one wins. On S3 the server decides, see
// TestS3Condition.
func TestRace(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		race(t, repository.Storage{Local: &repository.Local{Path: t.TempDir(), Prefix: "p"}})
	})
	t.Run("sftp", func(t *testing.T) {
		o := enginetest.StartSFTP(t)
		race(t, repository.Storage{SFTP: &o})
	})
	t.Run("webdav", func(t *testing.T) {
		o, _ := enginetest.StartWebDAV(t)
		race(t, repository.Storage{WebDAV: &o})
	})
}

func race(t *testing.T, storage repository.Storage) {
	t.Helper()
	g, ctx := NewWithT(t), t.Context()
	s, err := backend.Open(storage)
	g.Expect(err).NotTo(HaveOccurred())
	var won, lost atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		wg.Go(func() {
			switch err := s.PutIfAbsent(ctx, "repository.yaml", fmt.Append(nil, i)); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, backend.ErrExists):
				lost.Add(1)
			default:
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(won.Load()).To(BeEquivalentTo(1))
	g.Expect(lost.Load()).To(BeEquivalentTo(7))
}

func TestLocalErrors(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	dir := t.TempDir()
	missing, err := backend.Open(repository.Storage{Local: &repository.Local{Path: filepath.Join(dir, "not-mounted")}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(missing.Put(ctx, "x", nil)).To(MatchError(repository.ErrNoBucket))
	_, err = missing.List(ctx, "")
	g.Expect(err).To(MatchError(repository.ErrNoBucket))
	g.Expect(filepath.Join(dir, "not-mounted")).NotTo(BeAnExistingFile())

	// A link that somebody put into the volume leads nowhere.
	outside := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600)).To(Succeed())
	g.Expect(os.Symlink(outside, filepath.Join(dir, "link"))).To(Succeed())
	s, err := backend.Open(repository.Storage{Local: &repository.Local{Path: dir}})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Get(ctx, "link/secret")
	g.Expect(err).To(HaveOccurred())
	g.Expect(s.Put(ctx, "link/planted", nil)).NotTo(Succeed())
	g.Expect(os.ReadDir(outside)).To(HaveLen(1))
}

// Somebody has moved a directory to another place of the volume and left a link. The data behind it stays within reach.
func TestDeleteLeavesALinkToADirectory(t *testing.T) {
	g, ctx, dir := NewWithT(t), t.Context(), t.TempDir()
	g.Expect(os.MkdirAll(filepath.Join(dir, "moved/shop"), 0o755)).To(Succeed())
	g.Expect(os.Symlink("moved/shop", filepath.Join(dir, "shop"))).To(Succeed())
	s, err := backend.Open(repository.Storage{Local: &repository.Local{Path: dir}})
	g.Expect(err).NotTo(HaveOccurred())
	web, db := "shop/web/repository.yaml", "shop/db/repository.yaml"
	for _, file := range []string{web, db} {
		g.Expect(s.Put(ctx, file, []byte("x"))).To(Succeed())
	}
	g.Expect(s.Delete(ctx, web)).To(Succeed())
	g.Expect(filepath.Join(dir, "moved/shop/web")).NotTo(BeADirectory(), "it is empty")
	g.Expect(s.Get(ctx, db)).To(BeEquivalentTo("x"))
	g.Expect(s.Delete(ctx, db)).To(Succeed())
	g.Expect(s.Put(ctx, web, []byte("x"))).To(Succeed(), "the link leads to a directory")
}
