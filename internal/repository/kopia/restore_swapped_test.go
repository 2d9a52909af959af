package kopia_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// swapper is another process in the volume that is restored. Once it has watched some steps, it puts something else in
// the place of an entry that a restore has just made, before the restore gives the entry all its attributes.
type swapper struct {
	out   string // the target; empty while nothing is to be swapped
	put   func(name string) error
	watch int // so many steps with such an entry
	done  bool
	err   error
}

func (s *swapper) step() {
	if s.out == "" || s.done {
		return
	}
	entries, err := os.ReadDir(s.out)
	s.err = err
	for _, e := range entries {
		if !repository.IsUnfinishedName(e.Name()) || e.IsDir() {
			continue
		}
		if s.watch--; s.watch >= 0 {
			return
		}
		name := filepath.Join(s.out, e.Name())
		s.done, s.err = true, os.Rename(name, s.out+".taken")
		if s.err == nil {
			s.err = s.put(name)
		}
		return
	}
}

// described are all attributes of a file that a restore can set.
func described(t *testing.T, name string) string {
	t.Helper()
	g := NewWithT(t)
	var st unix.Stat_t
	g.Expect(unix.Lstat(name, &st)).To(Succeed())
	buf := make([]byte, 1<<10)
	n, err := unix.Llistxattr(name, buf)
	g.Expect(err).NotTo(HaveOccurred())
	content, err := os.ReadFile(name)
	g.Expect(err).NotTo(HaveOccurred())
	return fmt.Sprintf("mode %o owner %d:%d modified %d attributes %q content %q", st.Mode, st.Uid, st.Gid, st.Mtim.Sec,
		buf[:n], content)
}

// TestARestoreChangesOnlyWhatItMade swaps an entry between its creation and its attributes, for a symbolic link to a
// file outside the target or for another name of it. The file outside must stay as it is.
func TestARestoreChangesOnlyWhatItMade(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root restores owners")
	}
	for _, kind := range []string{"FIFO", "file", "symbolic link"} {
		for how, put := range map[string]func(victim, name string) error{
			"symbolic link": os.Symlink, "hard link": os.Link,
		} {
			t.Run(kind+" for a "+how, func(t *testing.T) {
				g, src, dir := NewWithT(t), t.TempDir(), t.TempDir()
				entry := filepath.Join(src, "entry")
				switch kind {
				case "FIFO":
					g.Expect(unix.Mkfifo(entry, 0o600)).To(Succeed())
				case "file":
					g.Expect(os.WriteFile(entry, []byte("ours"), 0o600)).To(Succeed())
				default:
					g.Expect(os.Symlink("somewhere", entry)).To(Succeed())
				}
				g.Expect(os.Lchown(entry, 4711, 4712)).To(Succeed())
				if kind != "symbolic link" {
					g.Expect(os.Chmod(entry, 0o666)).To(Succeed())
				}
				_ = unix.Lsetxattr(entry, "trusted.cairn-test", []byte("x"), 0) // not each file system has them
				longAgo(t, src, 1)
				s := &swapper{}
				e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, s.step), initialized(t))
				snap, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				steps := 0
				for tried := true; tried; steps++ {
					in := filepath.Join(dir, fmt.Sprint(steps))
					out, victim := filepath.Join(in, "out"), filepath.Join(in, "victim")
					g.Expect(os.MkdirAll(out, 0o755)).To(Succeed())
					g.Expect(os.WriteFile(victim, []byte("precious"), 0o400)).To(Succeed())
					before := described(t, victim)
					*s = swapper{out: out, watch: steps, put: func(name string) error { return put(victim, name) }}
					_, err = e.Restore(t.Context(), snap.ID, out, restoring(repository.ConflictFail))
					t.Logf("swapped after %d steps, the restore returned: %v", steps, err)
					g.Expect(s.err).NotTo(HaveOccurred())
					g.Expect(described(t, victim)).To(Equal(before), "swapped after %d steps", steps)
					tried = s.done
				}
				g.Expect(steps).To(BeNumerically(">", 2), "the attack was tried between several steps")
			})
		}
	}
}

// TestANameIsLinkedOnlyToTheFileThatWasWritten swaps the first name of a file for a file of another process before the
// restore links the second name, which lies in a directory that the other process can't write to.
func TestANameIsLinkedOnlyToTheFileThatWasWritten(t *testing.T) {
	g, src, dir := NewWithT(t), t.TempDir(), t.TempDir()
	for _, d := range []string{"theirs", "z-ours"} {
		g.Expect(os.Mkdir(filepath.Join(src, d), 0o755)).To(Succeed())
	}
	g.Expect(os.WriteFile(filepath.Join(src, "theirs/entry"), []byte("ours"), 0o600)).To(Succeed())
	g.Expect(os.Link(filepath.Join(src, "theirs/entry"), filepath.Join(src, "z-ours/entry"))).To(Succeed())
	longAgo(t, src, 1)
	s := &swapper{}
	e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, s.step), initialized(t))
	snap, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	steps := 0
	for tried := true; tried; steps++ {
		out := filepath.Join(dir, fmt.Sprint(steps))
		g.Expect(os.MkdirAll(filepath.Join(out, "theirs"), 0o777)).To(Succeed())
		*s = swapper{out: filepath.Join(out, "theirs"), watch: steps, put: func(name string) error {
			return os.WriteFile(name, []byte("evil"), 0o600)
		}}
		_, err := e.Restore(t.Context(), snap.ID, out, restoring(repository.ConflictReplace))
		t.Logf("swapped after %d steps, the restore returned: %v", steps, err)
		g.Expect(s.err).NotTo(HaveOccurred())
		g.Expect(os.ReadFile(filepath.Join(out, "z-ours/entry"))).
			To(BeEquivalentTo("ours"), "swapped after %d steps", steps)
		tried = s.done
	}
	g.Expect(steps).To(BeNumerically(">", 2), "the attack was tried between several steps")
}

// TestAComparisonWaitsForNoFIFO swaps a file for a FIFO that another process holds open and never writes to.
func TestAComparisonWaitsForNoFIFO(t *testing.T) {
	g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(src, "entry"), []byte("ours"), 0o600)).To(Succeed())
	entry, swapped := filepath.Join(out, "entry"), false
	var swap func()
	e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, func() {
		if swap != nil {
			swap()
		}
	}), initialized(t))
	snap, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.Restore(t.Context(), snap.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	swap = func() {
		if swapped {
			return
		}
		swapped = true
		g.Expect(os.Remove(entry)).To(Succeed())
		g.Expect(unix.Mkfifo(entry, 0o600)).To(Succeed())
		fd, err := unix.Open(entry, unix.O_RDWR|unix.O_CLOEXEC, 0)
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	type answer struct {
		got repository.CompareResult
		err error
	}
	over := make(chan answer, 1)
	go func() {
		got, err := e.Compare(t.Context(), snap.ID, out, repository.RestoreOptions{})
		over <- answer{got, err}
	}()
	var a answer
	g.Eventually(over, "20s").Should(Receive(&a), "the comparison ends")
	g.Expect(a.err).NotTo(HaveOccurred())
	g.Expect(swapped).To(BeTrue(), "the attack was tried")
	g.Expect(a.got.Different).To(BeEquivalentTo(1))
}
