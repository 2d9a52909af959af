package enginetest

import (
	"crypto/sha256"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

// Tree makes n small files in directories of 100.
func Tree(t testing.TB, dir string, n int) {
	t.Helper()
	g := NewWithT(t)
	rnd := rand.New(rand.NewSource(int64(n)))
	for i := range n {
		d := filepath.Join(dir, fmt.Sprint("dir", i/100))
		g.Expect(os.MkdirAll(d, 0o755)).To(Succeed())
		b := make([]byte, rnd.Intn(20000))
		rnd.Read(b)
		g.Expect(os.WriteFile(filepath.Join(d, fmt.Sprint("file", i)), b, 0o640)).To(Succeed())
	}
}

// Incompressible makes n files of size bytes in directories of 100.
func Incompressible(t testing.TB, dir string, n, size int) {
	t.Helper()
	g := NewWithT(t)
	rnd := rand.New(rand.NewSource(7))
	for i := range n {
		d := filepath.Join(dir, fmt.Sprint(i/100))
		g.Expect(os.MkdirAll(d, 0o755)).To(Succeed())
		b := make([]byte, size)
		rnd.Read(b)
		g.Expect(os.WriteFile(filepath.Join(d, fmt.Sprint(i)), b, 0o644)).To(Succeed())
	}
}

// endlessSize is more than a backup reads while a test runs. A file of this size needs no room: it is a hole.
const endlessSize = 4 << 40

// Endless writes a file among those of Incompressible, so large that no backup comes to its end before the test cancels
// it. It returns what removes the file.
func Endless(t testing.TB, dir string) func() {
	t.Helper()
	g, name := NewWithT(t), filepath.Join(dir, "1", "endless")
	g.Expect(os.WriteFile(name, nil, 0o644)).To(Succeed())
	g.Expect(os.Truncate(name, endlessSize)).To(Succeed())
	return func() { g.Expect(os.Remove(name)).To(Succeed()) }
}

// InMemory returns a directory in memory if there is room for one. There, a disk does not slow down a writer, so it
// writes while another process reads.
func InMemory(t testing.TB) string {
	t.Helper()
	const shm, room = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if syscall.Statfs(shm, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < room {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "cairn-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { NewWithT(t).Expect(os.RemoveAll(dir)).To(Succeed()) })
	return dir
}

// Same compares two trees including their roots: names, types, modes, owners, times in nanoseconds, sizes, contents,
// and targets of symbolic links.
func Same(t testing.TB, a, b string) {
	t.Helper()
	NewWithT(t).Expect(describe(t, b)).To(Equal(describe(t, a)))
}

// describe returns one line per entry, by name.
func describe(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		content, err := contentOf(p, fi)
		st := fi.Sys().(*syscall.Stat_t)
		out[rel] = fmt.Sprintf("%v %d:%d %d.%09d %s", fi.Mode(), st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, content)
		return err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return out
}

func contentOf(p string, fi os.FileInfo) (string, error) {
	switch {
	case fi.Mode().IsRegular():
		b, err := os.ReadFile(p)
		return fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b)), err
	case fi.Mode()&os.ModeSymlink != 0:
		to, err := os.Readlink(p)
		return "-> " + to, err
	}
	return "", nil
}
