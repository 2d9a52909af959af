package enginetest

import (
	"math/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// fidelity tests what every volume has. Each driver tests by itself what only some volumes have.
func (c Config) fidelity(t *testing.T) {
	g, ctx, e, src, out := NewWithT(t), t.Context(), c.fresh(t), t.TempDir(), t.TempDir()
	volume(t, src)
	s, err := e.Backup(ctx, repository.Source{Name: "v", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Unreadable + s.Changed + s.Vanished).To(BeZero())
	res, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0, SetID: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Problems).To(BeEmpty())
	Same(t, src, out)
	for _, name := range []string{"sparse", "all hole"} {
		g.Expect(blocks(t, filepath.Join(out, name))).To(BeNumerically("<=", blocks(t, filepath.Join(src, name))),
			"%s: holes are restored as holes", name)
	}
	if os.Getuid() != 0 {
		return
	}
	other := t.TempDir()
	res, err = e.Restore(ctx, s.ID, other, repository.RestoreOptions{SetID: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.OwnersNotRestored).To(BeEquivalentTo(2), "owners that were not requested are counted")
}

// volume makes a tree with one of everything that volumes hold.
func volume(t testing.TB, dir string) {
	t.Helper()
	g := NewWithT(t)
	file := func(name string, data []byte, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(p), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(p, data, 0o600)).To(Succeed())
		g.Expect(os.Chmod(p, mode)).To(Succeed())
		return p
	}
	for _, mode := range []os.FileMode{
		0o644, 0o600, 0o755, 0o444, 0o640, 0o755 | os.ModeSetuid, 0o755 | os.ModeSetgid,
	} {
		file("mode "+mode.String(), []byte(mode.String()), mode)
	}
	for _, name := range []string{
		"Überraschung mit Leerzeichen.txt", "日本語 ファイル", "emoji 🗻", " leading", "trailing ",
		"a/b c/d é/ф",
	} {
		file(name, []byte(name), 0o644)
	}
	file("empty file", nil, 0o644)
	big := make([]byte, 9<<20+7)
	rand.New(rand.NewSource(9)).Read(big)
	file("big", big, 0o644)
	g.Expect(os.Mkdir(filepath.Join(dir, "empty directory"), 0o750)).To(Succeed())
	g.Expect(os.Symlink("a/b c", filepath.Join(dir, "link to directory"))).To(Succeed())
	g.Expect(os.Symlink("/no/where ü", filepath.Join(dir, "dangling"))).To(Succeed())
	holes := file("sparse", nil, 0o644)
	g.Expect(os.Truncate(holes, 64<<20)).To(Succeed())
	f, err := os.OpenFile(holes, os.O_WRONLY, 0)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.WriteAt([]byte("island"), 33<<20+123)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Close()).To(Succeed())
	g.Expect(os.Truncate(file("all hole", nil, 0o644), 10<<20+1)).To(Succeed())
	if os.Getuid() == 0 {
		g.Expect(os.Lchown(file("owned", []byte("x"), 0o640), 1234, 5678)).To(Succeed())
		g.Expect(os.Lchown(filepath.Join(dir, "dangling"), 4321, 8765)).To(Succeed())
	}
	stamp := func(name string, sec, nsec int64) { // children before parents
		ts := []unix.Timespec{{Sec: sec, Nsec: nsec}, {Sec: sec, Nsec: nsec}}
		g.Expect(unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), ts, unix.AT_SYMLINK_NOFOLLOW)).To(Succeed())
	}
	stamp("big", 1234567890, 123456789)
	stamp("empty file", -86400*365*20-1, 999999999) // 1950
	stamp("dangling", 1000000000, 987654321)
	stamp("a/b c/d é/ф", -1, 1)
	stamp("empty directory", 999, 1)
	stamp("a/b c", 1222222222, 222222222)
	stamp("a", 5, 5)
	stamp(".", 1333333333, 333333333)
}

// blocks returns the number of disk blocks of a file.
func blocks(t testing.TB, p string) int64 {
	t.Helper()
	fi, err := os.Stat(p)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return fi.Sys().(*syscall.Stat_t).Blocks
}
