package unpack_test

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mover/unpack"
)

// FuzzUnpack unpacks what a program of a database's image or a dump says is an archive. Nothing outside the directory
// changes, and there are no more bytes and files than the archive has.
func FuzzUnpack(f *testing.F) {
	for _, headers := range [][]tar.Header{
		{{Name: "base/", Typeflag: tar.TypeDir, Mode: 0o700}, {Name: "base/t", Typeflag: tar.TypeReg, Size: 4}},
		{{Name: "../victim", Typeflag: tar.TypeReg, Size: 4}},
		{{Name: "/victim", Typeflag: tar.TypeReg, Size: 4}, {Name: "a/../../victim", Typeflag: tar.TypeReg, Size: 4}},
		{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/victim", Typeflag: tar.TypeReg, Size: 4}},
		{{Name: "l", Typeflag: tar.TypeLink, Linkname: "../victim"}, {Name: "l", Typeflag: tar.TypeReg, Size: 4}},
		{{Name: "a", Typeflag: tar.TypeReg, Size: 4}, {Name: "a/b", Typeflag: tar.TypeReg, Size: 4}},
	} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, h := range headers {
			_ = w.WriteHeader(&h)
			_, _ = w.Write([]byte("ours")[:h.Size])
		}
		_ = w.Close()
		f.Add(archive.Bytes())
	}
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		g, dir := NewWithT(t), t.TempDir()
		out, victim := filepath.Join(dir, "out"), filepath.Join(dir, "victim")
		g.Expect(os.Mkdir(out, 0o755)).To(Succeed())
		g.Expect(os.WriteFile(victim, []byte("precious"), 0o400)).To(Succeed())
		root, err := os.OpenRoot(out)
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = root.Close() }()
		u := unpack.Unpacker{Root: root}
		err = u.Unpack(bytes.NewReader(archive))
		g.Expect(os.ReadFile(victim)).To(BeEquivalentTo("precious"))
		beside, readErr := os.ReadDir(dir)
		g.Expect(readErr).NotTo(HaveOccurred())
		g.Expect(beside).To(HaveLen(2), "nothing is beside the directory")
		var files, size int64
		g.Expect(filepath.WalkDir(out, func(_ string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.Type().IsRegular():
				info, err := d.Info()
				files, size = files+1, size+info.Size()
				return err
			case !d.IsDir():
				t.Errorf("%s is a %s", d.Name(), d.Type())
			}
			return nil
		})).To(Succeed())
		if err == nil && files > u.Files {
			t.Errorf("%d files, %d counted", files, u.Files)
		}
		if size > int64(len(archive)) {
			t.Errorf("%d bytes became %d", len(archive), size)
		}
	})
}
