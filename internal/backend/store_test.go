package backend_test

import (
	"context"
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

// conform holds what every Store promises.
func conform(t *testing.T, fresh func(*testing.T) repository.Storage) {
	open := func(t *testing.T) backend.Store {
		t.Helper()
		s, err := backend.Open(fresh(t))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return s
	}
	t.Run("what is written is read, and replaced", func(t *testing.T) {
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
		for _, p := range []string{"snap/b/2.yaml", "snap/b/1.yaml", "snap/a.yaml", "snapshot/c", "metadata.yaml", "snap/mit leer ü+%.yaml"} {
			g.Expect(s.Put(ctx, p, []byte(p))).To(Succeed())
		}
		g.Expect(s.List(ctx, "snap")).To(Equal([]string{"snap/a.yaml", "snap/b/1.yaml", "snap/b/2.yaml", "snap/mit leer ü+%.yaml"}))
		g.Expect(s.List(ctx, "")).To(HaveLen(6))
		g.Expect(s.List(ctx, "nowhere")).To(BeEmpty())
		g.Expect(s.Get(ctx, "snap/mit leer ü+%.yaml")).To(BeEquivalentTo("snap/mit leer ü+%.yaml"))
	})
	t.Run("paths that leave the prefix are refused", func(t *testing.T) {
		g, ctx, s := NewWithT(t), t.Context(), open(t)
		for _, p := range []string{"", ".", "..", "../x", "a/../../x", "a/../b", "/etc/passwd", "a//b", "a/", "./a", "a\nb", "a\xff", strings.Repeat("a", 1000)} {
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
		g.Expect(s.Put(t.Context(), "big", make([]byte, 5<<20))).To(MatchError(ContainSubstring("more than")))
	})
	t.Run("a caller that gave up is told so", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := open(t).Get(ctx, "x")
		NewWithT(t).Expect(err).To(MatchError(repository.ErrCanceled))
	})
}

// TestLocalRace: on S3 the server decides, see TestS3Condition.
func TestLocalRace(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	s, err := backend.Open(repository.Storage{Local: &repository.Local{Path: t.TempDir(), Prefix: "p"}})
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
	g.Expect(errs).To(BeEmpty())
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

	// A link somebody put into the volume leads nowhere.
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
