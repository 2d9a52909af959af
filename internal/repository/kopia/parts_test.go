package kopia_test

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// kopia opens a big file once for each part. Such a file is as whole as a small one that the same happens to.
func TestAFileInPartsThatIsWrittenTo(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for name, tc := range map[string]struct {
		// write is called when a part was just opened, for the nth time.
		write func(file string, n int64) error
		torn  int64
		cut   int // how much of the file is whole, unless all is
	}{
		"by nobody":    {write: func(string, int64) error { return nil }},
		"at its end":   {write: func(file string, n int64) error { return writeAt(file, -1, fmt.Sprintln("line", n)) }},
		"at its start": {write: func(file string, n int64) error { return writeAt(file, 0, fmt.Sprint(n)) }, torn: 1},
		"in its middle": {
			write: func(file string, n int64) error { return writeAt(file, 2*size+1, fmt.Sprint(n)) }, torn: 1,
		},
		"which is replaced": {write: func(file string, _ int64) error {
			if err := os.WriteFile(file+"~", big(size), 0o600); err != nil {
				return err
			}
			return os.Rename(file+"~", file)
		}, torn: 1},
		"which is copied over while its first part is read":  {write: copiedOver(size, 1, size/2), torn: 1},
		"which is copied over while its second part is read": {write: copiedOver(size, 2, size+size/2), torn: 1},
		"which is copied over while its third part is read":  {write: copiedOver(size, 3, 2*size), torn: 1},
		"which is copied over while its last part is read":   {write: copiedOver(size, 4, 3*size+1), cut: 3*size + 1},
		"which is cut for good": {
			write: func(file string, _ int64) error { return os.Truncate(file, size+size/2) }, cut: size + size/2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src := NewWithT(t), t.TempDir()
			file := filepath.Join(src, "log")
			g.Expect(os.WriteFile(file, big(size), 0o600)).To(Succeed())
			var n atomic.Int64
			d := kopia.WithFileTime(kopia.WithPartSize(kopia.Driver{}, size), func() time.Time {
				g.Expect(tc.write(file, n.Add(1))).To(Succeed())
				return time.Now().Add(time.Hour)
			})
			e := enginetest.Open(t, d, initialized(t))
			s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
				repository.BackupOptions{Exclude: []string{"log~"}, Parallel: 1})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(n.Load()).To(BeNumerically(">=", 4), "it was read in parts")
			g.Expect(s.Changed).To(Equal(tc.torn))
			if tc.torn > 0 {
				return
			}
			out := t.TempDir()
			_, err = e.Restore(t.Context(), s.ID, out, restoring(repository.ConflictFail))
			g.Expect(err).NotTo(HaveOccurred())
			is, err := os.ReadFile(filepath.Join(out, "log"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(bytes.HasPrefix(is, big(size)[:cmp.Or(tc.cut, len(big(size)))])).To(BeTrue())
			now, err := os.ReadFile(file)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(bytes.HasPrefix(now, is)).To(BeTrue(), "it held that at one moment")
		})
	}
}

// copiedOver writes the same content over a file in place, as cp does. Whenever one of its four parts is opened, the
// file has only so many bytes, and all when the next one is.
func copiedOver(size int, part, short int64) func(string, int64) error {
	return func(file string, n int64) error {
		if n%4 == part%4 {
			return os.Truncate(file, short)
		}
		return os.WriteFile(file, big(size), 0o600)
	}
}

// big returns what makes three parts of a size, and a part of a fourth one. No two parts are the same.
func big(size int) []byte {
	var out bytes.Buffer
	for n := 0; out.Len() < 3*size+size/2; n++ {
		fmt.Fprintln(&out, "line", n)
	}
	return out.Bytes()
}

// writeAt writes to a file without changing its size, or appends to it if at is -1.
func writeAt(file string, at int64, what string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if at < 0 {
		_, err = f.Seek(0, 2)
		if err == nil {
			_, err = f.WriteString(what)
		}
		return err
	}
	_, err = f.WriteAt([]byte(what), at)
	return err
}
