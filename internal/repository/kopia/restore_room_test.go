package kopia_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestARestoreIntoAVolumeMoreThanHalfFull restores a volume again: in place, and after kills that left much behind.
func TestARestoreIntoAVolumeMoreThanHalfFull(t *testing.T) {
	t.Parallel()
	src, k := t.TempDir(), &killer{}
	enginetest.Incompressible(t, filepath.Join(src, "a"), 30, 600<<10) // all of them can wait
	enginetest.Incompressible(t, filepath.Join(src, "z"), 3, 6<<20)
	place := initialized(t)
	e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, k.step), place)
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, volume := range map[string]func(*testing.T) string{
		"memory": func(t *testing.T) string { return memory(t, "size=50m") },
		"ext4": func(t *testing.T) string {
			dir := loopedOf(t, 60<<20, filepath.Join(t.TempDir(), "image"), "ext4")
			NewWithT(t).Expect(os.Remove(filepath.Join(dir, "lost+found"))).To(Succeed())
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, parallel := range []int{1, 4} {
				t.Run(fmt.Sprintf("in place with %d", parallel), func(t *testing.T) {
					out := volume(t)
					for range 3 {
						again(t, e, s.ID, src, out, parallel)
					}
				})
			}
			t.Run("without room because of a directory that comes last", func(t *testing.T) {
				g, out := NewWithT(t), volume(t)
				again(t, e, s.ID, src, out, 1)
				left, err := os.Create(filepath.Join(out, "z/0", repository.NewUnfinishedName()))
				g.Expect(err).NotTo(HaveOccurred())
				_, err = io.Copy(left, rand.New(rand.NewSource(1)))
				g.Expect(err).To(MatchError(unix.ENOSPC))
				g.Expect(left.Close()).To(Succeed())
				again(t, e, s.ID, src, out, 1)
			})
			for _, after := range []int{100, 160, 190} {
				t.Run(fmt.Sprintf("killed after %d changes", after), func(t *testing.T) {
					out := volume(t)
					for range 2 {
						NewWithT(t).Expect(k.restore(t, e, s.ID, out, repository.ConflictReplace, after)).To(BeTrue())
					}
					NewWithT(t).Expect(leftIn(t, out)).NotTo(BeEmpty())
					again(t, e, s.ID, src, out, 1)
				})
			}
		})
	}
}

// again restores a tree, and checks that it is whole and nothing else is there.
func again(t *testing.T, e repository.Engine, id, src, out string, parallel int) {
	t.Helper()
	g, opt := NewWithT(t), restoring(repository.ConflictReplace)
	opt.Parallel = parallel
	_, err := e.Restore(t.Context(), id, out, opt)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(leftIn(t, out)).To(BeEmpty())
	enginetest.Same(t, src, out)
}

// leftIn returns the entries of a tree that a restore left unfinished.
func leftIn(t *testing.T, dir string) (left []string) {
	t.Helper()
	NewWithT(t).Expect(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if repository.IsUnfinishedName(d.Name()) {
			left = append(left, p)
		}
		return err
	})).To(Succeed())
	return left
}

// TestARestoreIntoAFullVolume checks that the error says how much room is left, and that no part of a file stays.
func TestARestoreIntoAFullVolume(t *testing.T) {
	t.Parallel()
	g, src, out := NewWithT(t), t.TempDir(), memory(t, "size=10m")
	enginetest.Incompressible(t, src, 3, 4<<20)
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	res, err := e.Restore(t.Context(), s.ID, out, repository.RestoreOptions{})
	g.Expect(err).To(And(MatchError(repository.ErrTarget), MatchError(unix.ENOSPC)))
	var full *repository.TargetFull
	g.Expect(errors.As(err, &full)).To(BeTrue())
	g.Expect(full.Needs).To(BeEquivalentTo(4 << 20))
	g.Expect(full.Links).To(BeFalse())
	g.Expect(full.Left).To(And(BeNumerically(">", 1<<20), BeNumerically("<", 2<<20+1)))
	g.Expect(res.Files).To(BeEquivalentTo(2))
	g.Expect(res.Bytes).To(BeEquivalentTo(8<<20), "what was written twice, and removed, does not count")
	g.Expect(leftIn(t, out)).To(BeEmpty())
}

// TestHardLinksThatTakeRoom checks that the error names them. A second name keeps the old file until its turn comes.
func TestHardLinksThatTakeRoom(t *testing.T) {
	t.Parallel()
	g, src, out := NewWithT(t), t.TempDir(), memory(t, "size=26m")
	enginetest.Incompressible(t, filepath.Join(src, "a"), 30, 600<<10)
	g.Expect(os.Mkdir(filepath.Join(src, "b"), 0o755)).To(Succeed())
	files, err := filepath.Glob(filepath.Join(src, "a/*/*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	for i, file := range files {
		g.Expect(os.Link(file, filepath.Join(src, "b", fmt.Sprint(i)))).To(Succeed())
	}
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	again(t, e, s.ID, src, out, 1)
	_, err = e.Restore(t.Context(), s.ID, out, restoring(repository.ConflictReplace))
	var full *repository.TargetFull
	g.Expect(errors.As(err, &full)).To(BeTrue(), "%v", err)
	g.Expect(full.Links).To(BeTrue())
	g.Expect(leftIn(t, out)).To(BeEmpty())
	g.Expect(os.RemoveAll(filepath.Join(out, "b"))).To(Succeed())
	again(t, e, s.ID, src, out, 1)
}

// TestAKilledRestoreIntoAVolumeWithoutRoomForMarks checks that a later restore that keeps what exists still sees which
// directories have no attributes yet.
func TestAKilledRestoreIntoAVolumeWithoutRoomForMarks(t *testing.T) {
	t.Parallel()
	g, src, k := NewWithT(t), t.TempDir(), &killer{}
	for _, name := range []string{"a", "b"} {
		g.Expect(os.Mkdir(filepath.Join(src, name), 0o751)).To(Succeed())
	}
	e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, k.step), initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	killed := true
	for n := 1; killed; n++ {
		out := memory(t, "nr_inodes=5") // a root, two directories, and two marks
		killed = k.restore(t, e, s.ID, out, repository.ConflictReplace, n)
		// What the killed restore had open is still open here.
		g.Expect(unix.Mount("", out, "", unix.MS_REMOUNT, "nr_inodes=100")).To(Succeed())
		_, err := e.Restore(t.Context(), s.ID, out, restoring(repository.ConflictSkip))
		g.Expect(err).NotTo(HaveOccurred(), "killed after %d changes", n)
		g.Expect(leftIn(t, out)).To(BeEmpty())
		for _, name := range []string{"a", "b"} {
			info, err := os.Stat(filepath.Join(out, name))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(info.Mode().Perm()).To(BeEquivalentTo(0o751), "%s, killed after %d changes", name, n)
		}
	}
	out := memory(t, "nr_inodes=3")
	_, err = e.Restore(t.Context(), s.ID, out, restoring(repository.ConflictReplace))
	g.Expect(err).To(MatchError(unix.ENOSPC))
	g.Expect(os.ReadDir(out)).To(HaveLen(1), "only the mark of the root")
}

// TestFewLargeFilesOfARestoreWaitForLittle checks that a kill loses little of a restore of few large files.
func TestFewLargeFilesOfARestoreWaitForLittle(t *testing.T) {
	t.Parallel()
	g, src, syncs := NewWithT(t), t.TempDir(), 0
	for i := range 6 {
		name := filepath.Join(src, fmt.Sprint(i))
		g.Expect(os.WriteFile(name, nil, 0o600)).To(Succeed())
		g.Expect(os.Truncate(name, 128<<20)).To(Succeed())
	}
	e := enginetest.Open(t, kopia.WithDisk(kopia.Driver{}, func() error { syncs++; return nil }), initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.Restore(t.Context(), s.ID, t.TempDir(), restoring(repository.ConflictFail))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(syncs).To(BeNumerically(">=", 3+1))
}
