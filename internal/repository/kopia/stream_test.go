package kopia_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestAStreamTakesBoundedMemory runs itself in a separate process, so that the peak is that of the stream alone.
func TestAStreamTakesBoundedMemory(t *testing.T) {
	const alone, length, bound = "CAIRN_TEST_ALONE", 768 << 20, 350 << 20
	g := NewWithT(t)
	if os.Getenv(alone) == "" {
		self, err := os.Executable()
		g.Expect(err).NotTo(HaveOccurred())
		again := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), alone+"=1")
		out, err := again.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(out))
		g.Expect(string(out)).To(ContainSubstring("--- PASS: " + t.Name()))
		return
	}
	r := enginetest.Repo(t, local(t))
	g.Expect(kopia.Driver{}.Init(t.Context(), r)).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, r)
	s, err := e.Backup(t.Context(), repository.Source{Name: "db", Stream: io.LimitReader(&rows{}, length)},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Bytes).To(BeEquivalentTo(length))
	backedUp := peak(t)
	g.Expect(backedUp).To(BeNumerically("<", bound))
	var restored counter
	g.Expect(e.RestoreStream(t.Context(), s.ID, &restored)).To(Succeed())
	g.Expect(restored).To(BeEquivalentTo(length))
	g.Expect(peak(t)).To(BeNumerically("<", bound), "after the backup it was %d", backedUp)
}

// peak returns the peak memory of this process in bytes.
func peak(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return kib << 10
}

// rows is an endless reader of numbered lines of 64 bytes.
type rows struct{ n uint64 }

func (r *rows) Read(p []byte) (int, error) {
	const row = "\tsomebody@example.com\t2026-01-01 00:00:00\tactive\t12.50\tx\n"
	size := 8 + len(row)
	if len(p) < size {
		return copy(p, row), nil
	}
	n := 0
	for ; n+size <= len(p); n += size {
		r.n++
		binary.BigEndian.PutUint64(p[n:], r.n*0x9e3779b97f4a7c15)
		copy(p[n+8:], row)
	}
	return n, nil
}

// counter counts the bytes written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
