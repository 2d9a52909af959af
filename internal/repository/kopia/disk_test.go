package kopia_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// memory mounts a file system in memory of the given size. It needs root.
func memory(t testing.TB, options string) string {
	t.Helper()
	needs(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// thinDisk mounts an ext4 of 200 MiB that has only room bytes of real space, as on a thin volume or a failing network
// disk: write(2) succeeds, but the data never reaches the disk.
func thinDisk(t testing.TB, room string) string {
	t.Helper()
	needs(t)
	return looped(t, filepath.Join(memory(t, "size="+room), "image"), "ext4", "-O", "^has_journal")
}

// looped mounts a new file system of 200 MiB. It needs root and loop devices.
func looped(t testing.TB, image, kind string, options ...string) string {
	t.Helper()
	return loopedOf(t, 200<<20, image, kind, options...)
}

// loopedOf is looped with another size.
func loopedOf(t testing.TB, size int64, image, kind string, options ...string) string {
	t.Helper()
	needs(t, "mkfs."+kind, "losetup", "mount")
	dir := t.TempDir()
	NewWithT(t).Expect(os.WriteFile(image, nil, 0o600)).To(Succeed())
	NewWithT(t).Expect(os.Truncate(image, size)).To(Succeed())
	enginetest.Program(t, "mkfs."+kind, append(options, "-q", image)...)
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("needs loop devices and %s: %s", kind, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestADiskThatTakesNoMore checks that neither a backup nor a restore succeeds where write(2) succeeds but the data
// does not reach the disk.
func TestADiskThatTakesNoMore(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	enginetest.Incompressible(t, src, 30, 2<<20)
	source := repository.Source{Name: "d", Dir: src}
	t.Run("of the repository", func(t *testing.T) {
		t.Parallel()
		g, ctx := NewWithT(t), t.Context()
		r := enginetest.Repo(t,
			repository.Storage{Local: &repository.Local{Path: thinDisk(t, "30m"), Prefix: "x/kopia"}})
		g.Expect(kopia.Driver{}.Init(ctx, r)).To(Succeed())
		_, err := enginetest.Open(t, kopia.Driver{}, r).Backup(ctx, source, repository.BackupOptions{})
		g.Expect(err).To(HaveOccurred())
	})
	t.Run("of the target", func(t *testing.T) {
		t.Parallel()
		g, ctx := NewWithT(t), t.Context()
		e := enginetest.Open(t, kopia.Driver{}, initialized(t))
		s, err := e.Backup(ctx, source, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = e.Restore(ctx, s.ID, thinDisk(t, "30m"), repository.RestoreOptions{})
		g.Expect(err).To(MatchError(repository.ErrTarget))
	})
}

// TestAnErrorOfTheDiskFailsARestore checks errors that the kernel tells only once, whatever was restored since the time
// before: also entries that have their names already.
func TestAnErrorOfTheDiskFailsARestore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		create func(dir string) error
		path   string // in the snapshot
	}{
		"files":           {create: func(d string) error { return os.WriteFile(filepath.Join(d, "f"), nil, 0o600) }},
		"directories":     {create: func(d string) error { return os.MkdirAll(filepath.Join(d, "a/b"), 0o700) }},
		"links":           {create: linkIn},
		"one link":        {create: linkIn, path: "link"},
		"an empty volume": {create: func(string) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src, syncs := NewWithT(t), t.Context(), t.TempDir(), 0
			g.Expect(tc.create(src)).To(Succeed())
			d := kopia.WithDisk(kopia.Driver{}, func() error {
				if syncs++; syncs == 1 {
					return unix.EIO
				}
				return nil
			})
			e := enginetest.Open(t, d, initialized(t))
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = e.Restore(ctx, s.ID, t.TempDir(), repository.RestoreOptions{Path: tc.path})
			g.Expect(err).To(And(MatchError(repository.ErrTarget), MatchError(unix.EIO)))
		})
	}
}

func linkIn(dir string) error { return os.Symlink("x", filepath.Join(dir, "link")) }

func TestLeftoversOfABlobGoWithoutTheOthers(t *testing.T) {
	t.Parallel()
	g, dir := NewWithT(t), t.TempDir()
	for _, name := range []string{"abc.f.tmp.1", "abc.f.tmp.2", "abcd.f.tmp.1", "abc.f", "b.f.tmp.1"} {
		g.Expect(os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600)).To(Succeed())
	}
	kopia.RemoveLeftovers(filepath.Join(dir, "abc.f"))
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(ConsistOf(HaveSuffix("/abcd.f.tmp.1"), HaveSuffix("/abc.f"), HaveSuffix("/b.f.tmp.1")))
}

// TestAFullVolume checks that the error names the full volume, and that the remaining space is free again afterwards.
func TestAFullVolume(t *testing.T) {
	t.Parallel()
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	enginetest.Incompressible(t, src, 30, 2<<20)
	r := enginetest.Repo(t,
		repository.Storage{Local: &repository.Local{Path: memory(t, "size=30m"), Prefix: "x/kopia"}})
	g.Expect(kopia.Driver{}.Init(ctx, r)).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, r)
	_, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).To(MatchError(repository.ErrStorageFull))
	g.Expect(e.List(ctx, "")).To(BeEmpty())
	g.Expect(filepath.WalkDir(r.Storage.Local.Path, func(p string, _ fs.DirEntry, err error) error {
		if strings.Contains(p, ".tmp.") {
			err = errors.Join(err, errors.New("left behind: "+p))
		}
		return err
	})).To(Succeed())
	small := t.TempDir()
	enginetest.Tree(t, small, 5)
	_, err = e.Backup(ctx, repository.Source{Name: "small", Dir: small}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "what is small still fits")
}

// TestAVolumeThatTakesNoMoreFIFOs checks a volume that has no inodes left: FIFOs that are missing are no attributes.
func TestAVolumeThatTakesNoMoreFIFOs(t *testing.T) {
	t.Parallel()
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	out := memory(t, "nr_inodes=10")
	for i := range 20 {
		g.Expect(unix.Mkfifo(filepath.Join(src, fmt.Sprint("fifo", i)), 0o644)).To(Succeed())
	}
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	res, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{})
	g.Expect(err).To(And(MatchError(repository.ErrTarget), MatchError(unix.ENOSPC)))
	g.Expect([]int64{res.AttributesNotRestored, res.DevicesNotRestored}).To(Equal([]int64{0, 0}))
}
