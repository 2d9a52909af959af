package unpack_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mover/unpack"
)

// swapping is an archive during whose reading another process changes the volume.
type swapping struct {
	parts []io.Reader
	swap  func()
}

// Read swaps between the first part and the second.
func (s *swapping) Read(b []byte) (int, error) {
	for len(s.parts) > 0 {
		n, err := s.parts[0].Read(b)
		if err != io.EOF {
			return n, err
		}
		if s.parts = s.parts[1:]; s.swap != nil {
			s.swap()
			s.swap = nil
		}
	}
	return 0, io.EOF
}

// TestAnArchiveIsUnpackedIntoNewFilesOnly puts something in the way of a file before the archive brings it: another
// name of a file outside the directory, a link to it, or a FIFO that nobody reads.
func TestAnArchiveIsUnpackedIntoNewFilesOnly(t *testing.T) {
	for title, put := range map[string]func(victim, name string) error{
		"a hard link": os.Link, "a symbolic link": os.Symlink,
		"a FIFO": func(_, name string) error { return syscall.Mkfifo(name, 0o600) },
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			g, dir := NewWithT(t), t.TempDir()
			out, victim := filepath.Join(dir, "out"), filepath.Join(dir, "victim")
			g.Expect(os.Mkdir(out, 0o755)).To(Succeed())
			g.Expect(os.WriteFile(victim, []byte("precious"), 0o400)).To(Succeed())
			var all bytes.Buffer
			w := tar.NewWriter(&all)
			add := func(h tar.Header) {
				h.Uid, h.Gid, h.Size = 4711, 4712, int64(len("ours"))
				if h.Typeflag == tar.TypeDir {
					h.Size = 0
				}
				g.Expect(w.WriteHeader(&h)).To(Succeed())
				_, err := w.Write([]byte("ours")[:h.Size])
				g.Expect(err).NotTo(HaveOccurred())
			}
			add(tar.Header{Name: "base/", Typeflag: tar.TypeDir, Mode: 0o700})
			g.Expect(w.Flush()).To(Succeed())
			first := all.Len()
			add(tar.Header{Name: "base/table", Typeflag: tar.TypeReg, Mode: 0o666})
			g.Expect(w.Close()).To(Succeed())
			archive := &swapping{
				parts: []io.Reader{bytes.NewReader(all.Bytes()[:first]), bytes.NewReader(all.Bytes()[first:])},
				swap:  func() { g.Expect(put(victim, filepath.Join(out, "base/table"))).To(Succeed()) },
			}
			root, err := os.OpenRoot(out)
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = root.Close() }()
			u := unpack.Unpacker{Root: root, Owners: os.Geteuid() == 0}
			over := make(chan error, 1)
			go func() { over <- u.Unpack(archive) }()
			g.Eventually(over, "20s").Should(Receive(&err), "the unpacking ends")
			g.Expect(err).NotTo(HaveOccurred())
			stat, err := os.Stat(victim)
			g.Expect(err).NotTo(HaveOccurred())
			owner := stat.Sys().(*syscall.Stat_t)
			content, err := os.ReadFile(victim)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(fmt.Sprint(stat.Mode(), owner.Uid, owner.Gid, " ", string(content))).
				To(Equal(fmt.Sprint(os.FileMode(0o400), os.Geteuid(), os.Getegid(), " precious")))
			g.Expect(os.ReadFile(filepath.Join(out, "base/table"))).To(BeEquivalentTo("ours"))
		})
	}
}
