package kopia_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestAnUnchangedDirectoryIsNotWritten checks that a backup writes a directory again only if its text would take much
// memory, and knows its entries either way.
func TestAnUnchangedDirectoryIsNotWritten(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files   int
		written bool
	}{"short": {30, false}, "of more than a megabyte": {4000, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
			for i := range tc.files {
				file := filepath.Join(src, fmt.Sprint(strings.Repeat("n", 200), i))
				g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
			}
			e := enginetest.Open(t, kopia.Driver{}, initialized(t))
			s, _ := backUp(ctx, g, e, src, repository.BackupOptions{})
			entries, written, err := kopia.RootAgain(ctx, e, s.ID)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(entries).To(Equal(tc.files))
			g.Expect(written).To(Equal(tc.written))
			_, p := backUp(ctx, g, e, src, repository.BackupOptions{})
			g.Expect(p.FilesUnchanged).To(BeEquivalentTo(tc.files))
		})
	}
}

// TestAnUnchangedDirectoryThatIsMarkedAsDeleted checks that a backup writes such a directory again: what is marked goes
// for good some time later.
func TestAnUnchangedDirectoryThatIsMarkedAsDeleted(t *testing.T) {
	t.Parallel()
	g, ctx, src, out, r := NewWithT(t), t.Context(), t.TempDir(), t.TempDir(), initialized(t)
	enginetest.Tree(t, src, 30)
	var first, second repository.Snapshot
	inSession(t, r, func(e repository.Engine) {
		first, _ = backUp(ctx, g, e, src, repository.BackupOptions{})
		g.Expect(kopia.MarkRoot(ctx, e, first.ID)).To(Succeed())
		g.Expect(kopia.RootIsMarked(ctx, e, first.ID)).To(BeTrue())
	})
	inSession(t, r, func(e repository.Engine) {
		second, _ = backUp(ctx, g, e, src, repository.BackupOptions{})
		g.Expect(kopia.RootIsMarked(ctx, e, second.ID)).To(BeFalse())
	})
	inSession(t, r, func(e repository.Engine) {
		_, err := e.Restore(ctx, second.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
		g.Expect(err).NotTo(HaveOccurred())
		enginetest.Same(t, src, out)
	})
}

// TestACacheHidesNoLossOfADirectory checks a backup whose cache still has the directories that the storage has lost.
func TestACacheHidesNoLossOfADirectory(t *testing.T) {
	t.Parallel()
	for name, how := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src, r := NewWithT(t), t.Context(), t.TempDir(), initialized(t)
			enginetest.Tree(t, src, 250)
			cached := r
			cached.CacheDir = t.TempDir()
			again := func() (s repository.Snapshot) {
				inSession(t, cached, func(e repository.Engine) {
					s, _ = backUp(ctx, g, e, src, repository.BackupOptions{})
				})
				return s
			}
			first := again()
			again()
			var pack string
			inSession(t, r, func(e repository.Engine) {
				p, _, _, err := kopia.PlaceOf(ctx, e, first.ID, "")
				g.Expect(err).NotTo(HaveOccurred())
				pack = string(p)
			})
			lose(t, r, pack, how)
			s := again()
			inSession(t, r, func(e repository.Engine) {
				g.Expect(e.Check(ctx, []string{s.ID})).To(BeEmpty())
			})
		})
	}
}

// TestACacheHidesNoRotOfADirectory checks a backup that meets a rotten directory below one that is rotten, too, but
// still in its cache: from then on it reads back what it refers to.
func TestACacheHidesNoRotOfADirectory(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
	enginetest.Tree(t, filepath.Join(src, "z"), 30)
	d, c := dated()
	run := func(r repository.Repository, name, dir string) (s repository.Snapshot) {
		e, err := d.Open(ctx, r)
		g.Expect(err).NotTo(HaveOccurred())
		s, err = e.Backup(ctx, repository.Source{Name: name, Dir: dir}, repository.BackupOptions{Parallel: 1})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.Close(ctx)).To(Succeed())
		c.pass(time.Hour)
		return s
	}
	run(r, "other", filepath.Join(src, "z/dir0")) // gives the lower directory a pack of its own
	old, cached := run(r, "d", src), r
	cached.CacheDir = t.TempDir()
	run(cached, "d", src)
	var pack string
	inSession(t, r, func(e repository.Engine) {
		p, _, _, err := kopia.PlaceOf(ctx, e, old.ID, "z/dir0")
		g.Expect(err).NotTo(HaveOccurred())
		pack = string(p)
	})
	g.Expect(uncache(cached.CacheDir, pack)).To(BeNumerically(">", 0), "the cache had it")
	c.pass(24 * time.Hour)
	rotAt(t, r, old.ID, "z/dir0")
	rotAt(t, r, old.ID, "z")
	s := run(cached, "d", src)
	g.Expect(enginetest.Open(t, d, r).Check(ctx, []string{s.ID})).To(BeEmpty())
	_, err := enginetest.Open(t, d, r).Verify(ctx, s.ID, 100)
	g.Expect(err).NotTo(HaveOccurred())
}

// uncache removes a pack from a cache. It returns how many files that were.
func uncache(cache, pack string) (removed int, err error) {
	err = filepath.Walk(cache, func(name string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || !strings.Contains(name, pack[3:20]) {
			return err
		}
		removed++
		return os.Remove(name)
	})
	return removed, err
}
