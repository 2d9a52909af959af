package kopia_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// links is a tree in which some names are one file, or looked like one file to a backup.
type links struct {
	*WithT
	t        *testing.T
	src, out string
	e        repository.Engine
	id       string
}

// newLinks backs up the names, each of which holds its own text. All of them have several links, and the same inode
// number: that is what a backup sees of files whose number was used again while it ran.
func newLinks(t *testing.T, names map[string]string) links {
	t.Helper()
	l := links{WithT: NewWithT(t), t: t, src: t.TempDir(), out: t.TempDir()}
	for name, text := range names {
		p := filepath.Join(l.src, name)
		l.Expect(os.MkdirAll(filepath.Dir(p), 0o755)).To(Succeed())
		l.Expect(os.WriteFile(p, []byte(text), 0o644)).To(Succeed())
		at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
		l.Expect(os.Chtimes(p, at, at)).To(Succeed())
	}
	d := kopia.WithStat(kopia.Driver{}, func(_ string, st *unix.Stat_t) {
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			st.Ino, st.Nlink = 42, 2
		}
	})
	l.e = enginetest.Open(t, d, initialized(t))
	s, err := l.e.Backup(t.Context(), repository.Source{Name: "d", Dir: l.src}, repository.BackupOptions{})
	l.Expect(err).NotTo(HaveOccurred())
	l.id = s.ID
	return l
}

func (l links) restore(opt repository.RestoreOptions) repository.RestoreResult {
	l.t.Helper()
	res, err := l.e.Restore(l.t.Context(), l.id, l.out, opt)
	l.Expect(err).NotTo(HaveOccurred())
	return res
}

func (l links) has(names map[string]string) {
	l.t.Helper()
	for name, text := range names {
		got, err := os.ReadFile(filepath.Join(l.out, name))
		l.Expect(err).NotTo(HaveOccurred())
		l.Expect(string(got)).To(Equal(text), name)
	}
}

func (l links) same(a, b string) bool {
	l.t.Helper()
	x, err := os.Lstat(filepath.Join(l.out, a))
	l.Expect(err).NotTo(HaveOccurred())
	y, err := os.Lstat(filepath.Join(l.out, b))
	l.Expect(err).NotTo(HaveOccurred())
	return os.SameFile(x, y)
}

// TestInodeNumbersThatWereUsedAgain checks that no file comes back with the content of another one.
func TestInodeNumbersThatWereUsedAgain(t *testing.T) {
	t.Parallel()
	names := map[string]string{"a/deleted": "old", "b/new": "other", "c/new": "other", "d/grown": "other and more"}
	l := newLinks(t, names)
	res := l.restore(repository.RestoreOptions{})
	l.has(names)
	l.Expect(l.same("b/new", "c/new")).To(BeTrue(), "equal names stay one file")
	l.Expect(l.same("a/deleted", "b/new") || l.same("d/grown", "b/new")).To(BeFalse())
	l.Expect(res.Files).To(BeEquivalentTo(3))
	l.Expect(res.Links).To(BeEquivalentTo(1))
	l.Expect(res.LinksNotRestored).To(BeEquivalentTo(2), "names of one number that are not one file")
	got, err := l.e.Compare(t.Context(), l.id, l.out, repository.RestoreOptions{})
	l.Expect(err).NotTo(HaveOccurred())
	l.Expect(got.Different).To(BeZero())
	l.Expect(got.Files).To(BeEquivalentTo(4))
}

// TestLinksOfANameThatIsKept checks that the other names stay one file where an existing file keeps the first name.
func TestLinksOfANameThatIsKept(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"a", "b", "c"} {
		t.Run(kept, func(t *testing.T) {
			t.Parallel()
			names := map[string]string{"a": "backup", "b": "backup", "c": "backup"}
			l := newLinks(t, names)
			l.Expect(os.WriteFile(filepath.Join(l.out, kept), []byte("volume"), 0o644)).To(Succeed())
			res := l.restore(repository.RestoreOptions{OnConflict: repository.ConflictSkip})
			names[kept] = "volume"
			l.has(names)
			delete(names, kept)
			var others []string
			for name := range names {
				others = append(others, name)
			}
			l.Expect(l.same(others[0], others[1])).To(BeTrue(), "the other names stay one file")
			l.Expect(res.LinksNotRestored).To(BeEquivalentTo(1), "the kept name is no name of that file")
		})
	}
}

// TestLinksBesideTheSelection checks that names which are not restored keep no others from being one file.
func TestLinksBesideTheSelection(t *testing.T) {
	t.Parallel()
	names := map[string]string{"a": "text", "d/b": "text", "d/c": "text"}
	for name, opt := range map[string]repository.RestoreOptions{
		"excluded": {Exclude: []string{"/a"}}, "included": {Include: []string{"/d"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLinks(t, names)
			res := l.restore(opt)
			l.Expect(filepath.Join(l.out, "a")).NotTo(BeAnExistingFile())
			l.Expect(l.same("d/b", "d/c")).To(BeTrue())
			l.Expect(res.LinksNotRestored).To(BeZero(), "nobody asked for the other name")
		})
	}
	t.Run("a path", func(t *testing.T) {
		t.Parallel()
		l := newLinks(t, names)
		l.restore(repository.RestoreOptions{Path: "d"})
		l.Expect(l.same("b", "c")).To(BeTrue())
		l.restore(repository.RestoreOptions{Path: "a"})
		l.Expect(l.same("a", "b")).To(BeFalse())
	})
}

// TestLinksOfFIFOs checks that several names of a FIFO come back as one FIFO.
func TestLinksOfFIFOs(t *testing.T) {
	t.Parallel()
	g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
	g.Expect(unix.Mkfifo(filepath.Join(src, "pipe"), 0o600)).To(Succeed())
	g.Expect(os.Link(filepath.Join(src, "pipe"), filepath.Join(src, "second"))).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	res, err := e.Restore(t.Context(), s.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	l := links{WithT: g, t: t, out: out}
	g.Expect(l.same("pipe", "second")).To(BeTrue())
	g.Expect([]int64{res.Special, res.Links, res.LinksNotRestored}).To(Equal([]int64{1, 1, 0}))
}

// TestLinksAcrossFileSystems checks that a name which cannot be linked comes back as a file of its own: the restore
// does not fail.
func TestLinksAcrossFileSystems(t *testing.T) {
	t.Parallel()
	names := map[string]string{"a": "text", "d/b": "text", "d/c": "text"}
	l := newLinks(t, names)
	mounted := memory(t, "size=1m")
	l.Expect(os.Mkdir(filepath.Join(l.out, "d"), 0o755)).To(Succeed())
	l.Expect(unix.Mount(mounted, filepath.Join(l.out, "d"), "", unix.MS_BIND, "")).To(Succeed())
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(l.out, "d"), unix.MNT_DETACH) })
	res := l.restore(repository.RestoreOptions{OnConflict: repository.ConflictReplace})
	l.has(names)
	l.Expect(l.same("d/b", "d/c")).To(BeTrue(), "names on one file system stay one file")
	l.Expect(res.LinksNotRestored).To(BeEquivalentTo(1))
}
