package enginetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// longAgo is a time of the last write that no test changes.
var longAgo = time.Date(2020, 2, 29, 12, 0, 0, 123456789, time.UTC)

// hiddenChange changes a tree so that names, sizes, modes, owners and times of the last write stay the same.
type hiddenChange struct {
	name   string
	change func(g Gomega, dir string)
}

// hiddenChanges are what cp -p, tar, rsync -t, reproducible builds and databases do.
var hiddenChanges = []hiddenChange{
	{"a file is replaced by another one", func(g Gomega, dir string) {
		writeAt(g, filepath.Join(dir, ".new"), "two")
		g.Expect(os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "file"))).To(Succeed())
	}},
	{"a file is rewritten in place", func(g Gomega, dir string) {
		writeAt(g, filepath.Join(dir, "file"), "two")
	}},
	{"two files change their names", func(g Gomega, dir string) {
		file, other, third := filepath.Join(dir, "file"), filepath.Join(dir, "other"), filepath.Join(dir, "third")
		g.Expect(os.Rename(file, third)).To(Succeed())
		g.Expect(os.Rename(other, file)).To(Succeed())
		g.Expect(os.Rename(third, other)).To(Succeed())
	}},
	{"a file gets a second name", func(g Gomega, dir string) {
		g.Expect(os.Remove(filepath.Join(dir, "other"))).To(Succeed())
		g.Expect(os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "other"))).To(Succeed())
	}},
	{"a symbolic link is replaced by another one", func(g Gomega, dir string) {
		link := filepath.Join(dir, "link")
		g.Expect(os.Remove(link)).To(Succeed())
		linkAt(g, "file", link)
	}},
}

// writeAt writes a file that was last written to long ago, as far as its times tell.
func writeAt(g Gomega, file, content string) {
	g.Expect(os.WriteFile(file, []byte(content), 0o644)).To(Succeed())
	g.Expect(os.Chtimes(file, longAgo, longAgo)).To(Succeed())
}

// hiddenChanges tests that a change is backed up which leaves names, sizes, modes, owners and times of the last write.
func (c Config) hiddenChanges(t *testing.T) {
	e := c.fresh(t)
	for _, h := range hiddenChanges {
		t.Run(h.name, func(t *testing.T) {
			g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
			dir := filepath.Join(src, "sub")
			g.Expect(os.Mkdir(dir, 0o755)).To(Succeed())
			writeAt(g, filepath.Join(dir, "file"), "one")
			writeAt(g, filepath.Join(dir, "other"), "red")
			linkAt(g, "echo", filepath.Join(dir, "link"))
			source := repository.Source{Name: h.name, Dir: src}
			_, err := e.Backup(ctx, source, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			h.change(g, dir)
			s, err := e.Backup(ctx, source, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
			g.Expect(err).NotTo(HaveOccurred())
			Same(t, src, out)
		})
	}
}

// progressOf backs a tree up and returns the last progress too.
func progressOf(
	t *testing.T, e repository.Engine, dir string, o repository.BackupOptions,
) (repository.Snapshot, repository.Progress) {
	t.Helper()
	var last repository.Progress
	o.Progress = func(p repository.Progress) { last = p }
	s, err := e.Backup(t.Context(), repository.Source{Name: "data", Dir: dir}, o)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s, last
}

// unchanged tests that no file of an unchanged tree is read again, and only those that changed of another one.
func (c Config) unchanged(t *testing.T) {
	g, e, src := NewWithT(t), c.fresh(t), t.TempDir()
	Tree(t, src, 120)
	g.Expect(os.Link(filepath.Join(src, "dir0/file1"), filepath.Join(src, "dir1/linked"))).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Join(src, "empty/below"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(src, "caf\xe9"), []byte("not UTF-8"), 0o644)).To(Succeed())
	first, p := progressOf(t, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeZero())
	for range 2 {
		s, p := progressOf(t, e, src, repository.BackupOptions{})
		g.Expect(p.FilesUnchanged).To(Equal(first.Files))
		g.Expect(p.FilesDone).To(Equal(first.Files))
		g.Expect(p.BytesUnchanged).To(Equal(first.Bytes))
		g.Expect(p.BytesRead).To(BeZero())
		g.Expect(s.Files).To(Equal(first.Files))
		g.Expect(s.Bytes).To(Equal(first.Bytes))
		g.Expect(s.FullRead).To(BeTemporally("==", first.FullRead))
	}
	g.Expect(os.Chmod(filepath.Join(src, "dir0/file7"), 0o600)).To(Succeed())
	_, p = progressOf(t, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(Equal(first.Files-1), "a change of the mode is a change")
	_, p = progressOf(t, e, src, repository.BackupOptions{Exclude: []string{"dir1"}})
	g.Expect(p.BytesRead).To(BeZero())
	_, p = progressOf(t, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeEquivalentTo(first.Files-21), "what the last backup left out is read")
}

// fullRead tests that every file is read at the intervals asked for, and that an interrupted full read goes on.
func (c Config) fullRead(t *testing.T) {
	g, e, src := NewWithT(t), c.fresh(t), t.TempDir()
	Incompressible(t, src, 400, 100<<10)
	first, _ := progressOf(t, e, src, repository.BackupOptions{FullReadEvery: time.Hour})
	g.Expect(first.FullRead).To(BeTemporally("~", first.Start, time.Minute))
	s, p := progressOf(t, e, src, repository.BackupOptions{FullReadEvery: time.Hour})
	g.Expect(p.FilesUnchanged).To(BeEquivalentTo(400))
	g.Expect(s.FullRead).To(BeTemporally("==", first.FullRead))

	end := Endless(t, src)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := e.Backup(ctx, repository.Source{Name: "data", Dir: src}, repository.BackupOptions{
		Parallel: 1, ProgressEvery: 1, FullReadEvery: time.Since(first.FullRead),
		Progress: func(p repository.Progress) {
			g.Expect(p.FilesUnchanged).To(BeZero())
			if p.FilesDone > 0 {
				cancel()
			}
		},
	})
	g.Expect(err).To(MatchError(repository.ErrCanceled))
	end()
	s, p = progressOf(t, e, src, repository.BackupOptions{FullReadEvery: time.Since(first.FullRead)})
	g.Expect(p.FilesUnchanged).To(And(BeNumerically(">", 0), BeNumerically("<", 400)))
	g.Expect(s.FullRead).To(BeTemporally(">", first.FullRead))

	again, p := progressOf(t, e, src, repository.BackupOptions{FullReadEvery: time.Nanosecond})
	g.Expect(p.FilesUnchanged).To(BeZero())
	g.Expect(p.BytesRead).To(BeEquivalentTo(400 * 100 << 10))
	g.Expect(again.BytesSent).To(BeNumerically("<", 1<<20), "what is read again is not sent again")
	l, err := e.List(t.Context(), "data")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(l).To(HaveLen(4))
	g.Expect(l[3].FullRead).To(BeTemporally("==", again.FullRead))
}

// ignoredInode tests a tree whose files have new inodes and times of the last change at each backup, as after a copy.
func (c Config) ignoredInode(t *testing.T) {
	g, e, src, other := NewWithT(t), c.fresh(t), t.TempDir(), t.TempDir()
	for _, dir := range []string{src, other} {
		writeAt(g, filepath.Join(dir, "file"), "one")
	}
	ignoring := repository.BackupOptions{IgnoreInode: true, FullReadEvery: time.Hour}
	progressOf(t, e, src, ignoring)
	_, p := progressOf(t, e, other, ignoring)
	g.Expect(p.FilesUnchanged).To(BeEquivalentTo(1))
	_, p = progressOf(t, e, other, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeZero(), "inodes count again")
	_, err := e.Backup(t.Context(), repository.Source{Name: "data", Dir: src},
		repository.BackupOptions{IgnoreInode: true})
	g.Expect(err).To(MatchError(ContainSubstring("FullReadEvery")))
}

// linkAt makes a symbolic link that was last changed long ago, as far as its times tell.
func linkAt(g Gomega, to, link string) {
	g.Expect(os.Symlink(to, link)).To(Succeed())
	at, err := unix.TimeToTimespec(longAgo)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(unix.UtimesNanoAt(unix.AT_FDCWD, link, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)).To(Succeed())
}
