package kopia_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// blobBytes is the content of a blob.
type blobBytes string

func (b blobBytes) Length() int { return len(b) }

func (b blobBytes) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(b))
	return int64(n), err
}

func (b blobBytes) Reader() io.ReadSeekCloser {
	return struct {
		io.ReadSeeker
		io.Closer
	}{strings.NewReader(string(b)), io.NopCloser(nil)}
}

// fileOf returns the file of a blob.
func fileOf(t *testing.T, dir, name string) string {
	t.Helper()
	g, found := NewWithT(t), ""
	g.Expect(filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if strings.HasPrefix(strings.ReplaceAll(rel, "/", ""), name) && strings.HasSuffix(p, ".f") {
			found = p
		}
		return err
	})).To(Succeed())
	g.Expect(found).NotTo(BeEmpty(), "the file of blob %s", name)
	return found
}

// TestPackFiles checks that open files of packs do not hide changes: a pack that was replaced, shortened or deleted
// is read as it is now. It reads more packs in turns than are kept open.
func TestPackFiles(t *testing.T) {
	g, ctx, dir := NewWithT(t), t.Context(), t.TempDir()
	st, err := kopia.OpenLocal(ctx, dir)
	g.Expect(err).NotTo(HaveOccurred())
	read := func(id blob.ID, off, n int64) (string, error) {
		var out buffer
		_, _ = out.WriteString("left from an attempt before")
		err := st.GetBlob(ctx, id, off, n, &out)
		return out.String(), err
	}
	content := strings.Repeat("0123456789abcdef", 50_000)
	for i := range 20 {
		g.Expect(st.PutBlob(ctx, blob.ID(fmt.Sprintf("pack%04d", i)), blobBytes(content), blob.PutOptions{})).
			To(Succeed())
	}
	for range 4 {
		for i := range 20 {
			off := int64(i * 1001)
			g.Expect(read(blob.ID(fmt.Sprintf("pack%04d", i)), off, 700_001)).To(Equal(content[off : off+700_001]))
		}
	}
	_, err = read("pack0019", int64(len(content))-3, 4)
	g.Expect(err).To(HaveOccurred(), "past the end")

	file := fileOf(t, dir, "pack0019")
	g.Expect(os.WriteFile(file+".new", []byte("replaced"), 0o600)).To(Succeed())
	g.Expect(os.Rename(file+".new", file)).To(Succeed())
	g.Expect(read("pack0019", 0, 8)).To(Equal("replaced"))
	g.Expect(os.Truncate(file, 4)).To(Succeed())
	_, err = read("pack0019", 0, 8)
	g.Expect(err).To(HaveOccurred(), "shortened")
	g.Expect(os.Remove(file)).To(Succeed())
	_, err = read("pack0019", 0, 4)
	g.Expect(err).To(MatchError(blob.ErrBlobNotFound))
	g.Expect(st.Close(ctx)).To(Succeed())
	g.Expect(openBelow(t, dir)).To(BeEmpty())
}

// openBelow returns the files below a directory that this process has open.
func openBelow(t *testing.T, dir string) (files []string) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, fd := range all {
		if file, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(file, dir) {
			files = append(files, file)
		}
	}
	return files
}

// TestAPackIsDroppedWhileItIsOpened checks that the file of such a pack does not stay open.
func TestAPackIsDroppedWhileItIsOpened(t *testing.T) {
	g, dir := NewWithT(t), t.TempDir()
	get, count := kopia.OpenPackFiles()
	slow := filepath.Join(dir, "slow")
	g.Expect(unix.Mkfifo(slow, 0o600)).To(Succeed())
	opened := make(chan *os.File)
	go func() { opened <- get("slow", slow) }()
	writer := -1
	t.Cleanup(func() { _ = unix.Close(writer) })
	reading := func() (err error) { // a FIFO has no writer before it has a reader
		writer, err = unix.Open(slow, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	}
	g.Eventually(count).WithTimeout(time.Minute).Should(Equal(1))
	for i := range 8 { // as many as are kept
		file := filepath.Join(dir, fmt.Sprint(i))
		g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
		g.Expect(get(blob.ID(fmt.Sprint(i)), file)).NotTo(BeNil())
	}
	g.Eventually(reading).WithTimeout(time.Minute).Should(Succeed())
	g.Eventually(opened).WithTimeout(time.Minute).Should(Receive(BeNil()))
	g.Expect(openBelow(t, dir)).To(ConsistOf(HavePrefix(dir), HavePrefix(dir), HavePrefix(dir), HavePrefix(dir),
		HavePrefix(dir), HavePrefix(dir), HavePrefix(dir), HavePrefix(dir), slow), "eight packs, and the writer")
	g.Expect(count()).To(Equal(8))
}

// TestPacksAreOpenedAtOnce checks that no pack waits until another is opened, and that each is opened once. A FIFO
// stands for a file on a slow disk: it is open when it has a writer.
func TestPacksAreOpenedAtOnce(t *testing.T) {
	g, dir := NewWithT(t), t.TempDir()
	get, _ := kopia.OpenPackFiles()
	path := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	opened := make(chan *os.File, 12)
	for i := range 6 {
		g.Expect(unix.Mkfifo(path(i), 0o600)).To(Succeed())
		for range 2 {
			go func() { opened <- get(blob.ID(path(i)), path(i)) }()
		}
	}
	for i := range 6 {
		g.Eventually(func() error { // a FIFO has no writer before it has a reader
			fd, err := unix.Open(path(i), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err == nil {
				t.Cleanup(func() { _ = unix.Close(fd) })
			}
			return err
		}).WithTimeout(time.Minute).Should(Succeed())
	}
	files := map[*os.File]int{}
	for range 12 {
		files[<-opened]++
	}
	g.Expect(files).To(HaveLen(6))
	g.Expect(files).To(HaveEach(2))
}
