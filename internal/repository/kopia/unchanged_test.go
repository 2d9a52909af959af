package kopia_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// backUp backs a directory up and returns the last progress too.
func backUp(
	ctx context.Context, g Gomega, e repository.Engine, dir string, o repository.BackupOptions,
) (repository.Snapshot, repository.Progress) {
	var last repository.Progress
	o.Progress = func(p repository.Progress) { last = p }
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: dir}, o)
	g.ExpectWithOffset(1, err).NotTo(HaveOccurred())
	return s, last
}

// TestAWriteThatSetsItsTimeBack checks that a file counts as torn whose time of the last write was set back while it
// was read, as tar and rsync do.
func TestAWriteThatSetsItsTimeBack(t *testing.T) {
	t.Parallel()
	g, dir := NewWithT(t), t.TempDir()
	file, old := filepath.Join(dir, "data"), time.Now().Add(-time.Hour)
	write := func(content string) {
		g.Expect(os.WriteFile(file, []byte(content), 0o600)).To(Succeed())
		g.Expect(os.Chtimes(file, old, old)).To(Succeed())
	}
	write("first")
	g.Expect(kopia.ReadDuring(t.Context(), dir, "data", func() {})).To(BeZero())
	g.Expect(kopia.ReadDuring(t.Context(), dir, "data", func() { write("other") })).To(BeEquivalentTo(1))
}

// TestATornFileIsReadByTheNextBackup checks a file that was written to during all passes of a backup. If its times and
// its size are the same later, its content in that backup must not count as current.
func TestATornFileIsReadByTheNextBackup(t *testing.T) {
	t.Parallel()
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	file, at := filepath.Join(src, "busy"), time.Now()
	writes, busy := byte(0), true
	write := func() {
		writes++
		g.Expect(os.WriteFile(file, bytes.Repeat([]byte{writes}, 1<<20), 0o644)).To(Succeed())
		g.Expect(os.Chtimes(file, at, at)).To(Succeed())
	}
	write()
	d := kopia.WithFileTime(kopia.WithChangeTime(kopia.Driver{}, at), func() time.Time {
		if busy {
			write()
		}
		return at
	})
	e := enginetest.Open(t, d, initialized(t))
	torn, _ := backUp(ctx, g, e, src, repository.BackupOptions{AllowChanged: true})
	g.Expect(torn.Changed).To(BeEquivalentTo(1))
	busy = false
	s, _ := backUp(ctx, g, e, src, repository.BackupOptions{})
	g.Expect(s.Changed).To(BeZero())
	_, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
	g.Expect(err).NotTo(HaveOccurred())
	enginetest.Same(t, src, out)
}

// TestTheFirstBackupOfThisVersion checks that nothing is taken from a snapshot of a version that knew no ctime and
// inode, and that the next backup has what it needs.
func TestTheFirstBackupOfThisVersion(t *testing.T) {
	t.Parallel()
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	enginetest.Tree(t, src, 30)
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	old, _ := backUp(ctx, g, e, src, repository.BackupOptions{})
	g.Expect(kopia.ForgetFullRead(ctx, e, old.ID)).To(Succeed())
	for _, unchanged := range []int{0, 30} {
		s, p := backUp(ctx, g, e, src, repository.BackupOptions{})
		g.Expect(p.FilesUnchanged).To(BeEquivalentTo(unchanged))
		g.Expect(s.FullRead).To(BeTemporally(">", old.FullRead))
	}
}

// TestAFullReadFindsWhatAFileSystemHides checks a file that was rewritten where size, times and inode tell nothing.
func TestAFullReadFindsWhatAFileSystemHides(t *testing.T) {
	t.Parallel()
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	file, old := filepath.Join(src, "data"), time.Now().Add(-time.Hour)
	write := func(content string) {
		g.Expect(os.WriteFile(file, []byte(content), 0o600)).To(Succeed())
		g.Expect(os.Chtimes(file, old, old)).To(Succeed())
	}
	e := enginetest.Open(t, kopia.WithChangeTime(kopia.Driver{}, old), initialized(t))
	write("first")
	backUp(ctx, g, e, src, repository.BackupOptions{})
	write("other")
	_, p := backUp(ctx, g, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeEquivalentTo(1), "nothing tells")
	s, _ := backUp(ctx, g, e, src, repository.BackupOptions{FullReadEvery: time.Nanosecond})
	_, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
	g.Expect(err).NotTo(HaveOccurred())
	enginetest.Same(t, src, out)
}

// TestATimeThatKopiaCannotHold checks that a file of the year 2445 is not read again and again.
func TestATimeThatKopiaCannotHold(t *testing.T) {
	t.Parallel()
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	file := filepath.Join(src, "far")
	g.Expect(os.WriteFile(file, []byte("x"), 0o600)).To(Succeed())
	at := []unix.Timespec{{Sec: 15_000_000_000, Nsec: 1}, {Sec: 15_000_000_000, Nsec: 1}}
	g.Expect(unix.UtimesNanoAt(unix.AT_FDCWD, file, at, 0)).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	backUp(ctx, g, e, src, repository.BackupOptions{})
	_, p := backUp(ctx, g, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeEquivalentTo(1))
	g.Expect(p.BytesRead).To(BeZero())
}

// TestATimeThatAlwaysChanges checks a file system that gives a file another ctime each time it is looked at. Where
// ctimes are ignored, no file counts as written to while it was read.
func TestATimeThatAlwaysChanges(t *testing.T) {
	t.Parallel()
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	enginetest.Tree(t, src, 20)
	looks := atomic.Int64{}
	d := kopia.WithChangeTimes(kopia.Driver{}, func() time.Time { return time.Unix(looks.Add(1), 0) })
	e := enginetest.Open(t, d, initialized(t))
	ignoring := repository.BackupOptions{IgnoreInode: true, FullReadEvery: time.Hour}
	backUp(ctx, g, e, src, ignoring)
	g.Expect(looks.Load()).To(BeEquivalentTo(1+20+2*20), "no second pass")
	_, p := backUp(ctx, g, e, src, ignoring)
	g.Expect(p.FilesUnchanged).To(BeEquivalentTo(20))
	s, p := backUp(ctx, g, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeZero())
	g.Expect(s.Changed).To(BeZero(), "the content was read twice and is the same")
}

// TestAWriteInTheSecondOfTheBackup checks a file system that knows only whole seconds. A write in the second in which a
// backup read the file leaves size and times as they are, so the next backup must read the file again.
func TestAWriteInTheSecondOfTheBackup(t *testing.T) {
	t.Parallel()
	second := time.Now().Truncate(time.Second)
	for name, tc := range map[string]struct {
		now    time.Time // of the backup
		change time.Time
		opt    repository.BackupOptions
		same   int // files that the next backup does not read
	}{
		"in its second":               {now: second.Add(900 * time.Millisecond), change: second},
		"in its two seconds":          {now: second.Add(1900 * time.Millisecond), change: second},
		"of a clock that is ahead":    {now: second, change: second.Add(time.Second)},
		"long before":                 {now: second.Add(3 * time.Second), change: second, same: 1},
		"with a time within a second": {now: second.Add(900 * time.Millisecond), change: second.Add(1), same: 1},
		"where only mtimes count":     {now: second, change: second, opt: ignoring},
		"where mtimes count, and old": {now: second.Add(3 * time.Second), change: second, opt: ignoring, same: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
			file := filepath.Join(src, "data")
			write := func(content string) {
				g.Expect(os.WriteFile(file, []byte(content), 0o600)).To(Succeed())
				g.Expect(os.Chtimes(file, tc.change, tc.change)).To(Succeed())
			}
			d := kopia.WithFileTime(kopia.WithChangeTime(kopia.Driver{}, tc.change), func() time.Time { return tc.now })
			e := enginetest.Open(t, d, initialized(t))
			write("first")
			_, p := backUp(ctx, g, e, src, tc.opt)
			g.Expect(p.FilesDone).To(BeEquivalentTo(1))
			if tc.same == 0 {
				write("other")
			}
			s, p := backUp(ctx, g, e, src, tc.opt)
			g.Expect(s.Changed).To(BeZero())
			g.Expect(p.FilesUnchanged).To(BeEquivalentTo(tc.same))
			_, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
			g.Expect(err).NotTo(HaveOccurred())
			enginetest.Same(t, src, out)
		})
	}
}

// TestAWriteByAnotherClock checks a file server whose clock is behind that of the node, or ahead. A file that was
// written to just now seems to be older, or to come from the future. A later write through a mapping leaves its times.
func TestAWriteByAnotherClock(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ahead, skew time.Duration
		same        int // files that the next backup does not read
	}{
		"behind":                 {ahead: -3 * time.Minute, skew: 5 * time.Minute},
		"ahead":                  {ahead: 3 * time.Minute, skew: 5 * time.Minute},
		"on a disk of the node":  {ahead: -3 * time.Minute, same: 1},
		"further than we expect": {ahead: -7 * time.Minute, skew: 5 * time.Minute, same: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
			g.Expect(os.WriteFile(filepath.Join(src, "data"), []byte("first"), 0o600)).To(Succeed())
			d := kopia.WithChangeTime(kopia.WithDirtyFor(kopia.Driver{}, time.Minute), time.Now().Add(tc.ahead))
			e := enginetest.Open(t, kopia.WithSkew(d, tc.skew), initialized(t))
			backUp(ctx, g, e, src, repository.BackupOptions{})
			_, p := backUp(ctx, g, e, src, repository.BackupOptions{})
			g.Expect(p.FilesUnchanged).To(BeEquivalentTo(tc.same))
		})
	}
	NewWithT(t).Expect(kopia.SkewOf(filepath.Join(t.TempDir(), "none"))).To(Equal(5*time.Minute), "nobody knows")
	NewWithT(t).Expect(kopia.SkewOf("/proc")).To(BeZero(), "a file system of this node")
}

// TestWholeSecondsByAnotherClock checks a file server that knows only whole seconds, and whose clock may differ: a tree
// that rests is read once, and a big file that did not change in the last seconds too.
func TestWholeSecondsByAnotherClock(t *testing.T) {
	t.Parallel()
	g, ctx, src, passes := NewWithT(t), t.Context(), t.TempDir(), 0
	const skew, small, big = 5 * time.Minute, 100, 64<<20 + 1
	now := time.Now().Truncate(time.Second)
	for name, tc := range map[string]struct {
		size  int64
		at    time.Time
		twice bool
	}{
		"a small file":              {size: small, at: now.Add(-2 * time.Minute), twice: true},
		"a big file":                {size: big, at: now.Add(-2 * time.Minute)},
		"a big file of this second": {size: big, at: now.Add(time.Second), twice: true},
		"an old file":               {size: small, at: now.Add(-time.Hour)},
	} {
		file := filepath.Join(src, name)
		g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
		g.Expect(errors.Join(os.Truncate(file, tc.size), os.Chtimes(file, tc.at, tc.at))).To(Succeed())
		g.Expect(kopia.ReadsTwice(ctx, src, name, skew)).To(Equal(tc.twice), name)
	}
	g.Expect(os.Chtimes(src, now.Add(-2*time.Minute), now.Add(-2*time.Minute))).To(Succeed())
	d := kopia.WithLstat(kopia.WithSkew(kopia.Driver{}, skew), func(name string) error {
		if name == "an old file" {
			passes++
		}
		return nil
	})
	s, _ := backUp(ctx, g, enginetest.Open(t, d, initialized(t)), src, ignoring)
	g.Expect(passes).To(Equal(1))
	g.Expect(s.Changed).To(BeZero())
}

// TestAWriteThatACopyLacks checks a copy of a volume whose file system was not frozen. The disk can have the times of a
// write, and its data only half a minute later. The next copy has the data, with the same times.
func TestAWriteThatACopyLacks(t *testing.T) {
	t.Parallel()
	copied := time.Now().Add(-10 * time.Minute).Truncate(time.Second).Add(time.Millisecond)
	for name, tc := range map[string]struct {
		change   time.Time
		dirtyFor time.Duration
		opt      repository.BackupOptions
		same     int // files that the next backup does not read
	}{
		"just before":                 {change: copied.Add(-30 * time.Second), dirtyFor: time.Minute},
		"after it was asked for":      {change: copied.Add(5 * time.Second), dirtyFor: time.Minute},
		"long before":                 {change: copied.Add(-2 * time.Minute), dirtyFor: time.Minute, same: 1},
		"in its second":               {change: copied.Truncate(time.Second), dirtyFor: 1},
		"with a time within a second": {change: copied.Add(-1), dirtyFor: 1, same: 1},
		"of a clock that was wrong":   {change: copied.Add(time.Hour), dirtyFor: time.Minute, same: 1},
		"where only mtimes count":     {change: copied.Add(-30 * time.Second), dirtyFor: time.Minute, opt: ignoring},
		"where mtimes count, and old": {change: copied.Add(-time.Hour), dirtyFor: time.Minute, opt: ignoring, same: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
			file := filepath.Join(src, "data")
			write := func(content string) {
				g.Expect(os.WriteFile(file, []byte(content), 0o600)).To(Succeed())
				g.Expect(os.Chtimes(file, tc.change, tc.change)).To(Succeed())
			}
			d := kopia.WithDirtyFor(kopia.WithChangeTime(kopia.Driver{}, tc.change), tc.dirtyFor)
			e, opt := enginetest.Open(t, d, initialized(t)), tc.opt
			opt.CopiedAt = copied
			write("first")
			backUp(ctx, g, e, src, opt)
			if tc.same == 0 {
				write("other")
			}
			_, p := backUp(ctx, g, e, src, opt)
			g.Expect(p.FilesUnchanged).To(BeEquivalentTo(tc.same))
			s, _ := backUp(ctx, g, e, src, opt)
			_, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
			g.Expect(err).NotTo(HaveOccurred())
			enginetest.Same(t, src, out)
		})
	}
}

// TestAWriteThroughAMappingIsBackedUp checks a file that a program writes to through a mapping, as LMDB, SQLite and
// journald do. The kernel sets the file's times at the first write to a page, and then not until the disk has the page.
func TestAWriteThroughAMappingIsBackedUp(t *testing.T) {
	t.Parallel()
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(src, "data"))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = f.Close() }()
	g.Expect(errors.Join(f.Truncate(8192), f.Sync())).To(Succeed())
	mapped, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = unix.Munmap(mapped) }()
	later := time.Duration(0)
	d := kopia.WithFileTime(kopia.WithDirtyFor(kopia.Driver{}, time.Minute),
		func() time.Time { return time.Now().Add(later) })
	e := enginetest.Open(t, d, initialized(t))
	copy(mapped, "first")
	time.Sleep(100 * time.Millisecond) // a write has times of its own
	backUp(ctx, g, e, src, repository.BackupOptions{})
	copy(mapped, "other")
	later = time.Hour // the next backup
	s, p := backUp(ctx, g, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeZero())
	_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadFile(filepath.Join(out, "data"))).To(HavePrefix("other"))
	_, p = backUp(ctx, g, e, src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeEquivalentTo(1), "no longer")
}

// TestATornReadThroughAMappingIsNoticed checks a program that changes two pages through a mapping while the file is
// read. The pages were written to before, so the times of the file stay.
func TestATornReadThroughAMappingIsNoticed(t *testing.T) {
	t.Parallel()
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	const size = 8 << 20
	f, err := os.Create(filepath.Join(src, "data"))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = f.Close() }()
	g.Expect(errors.Join(f.Truncate(size), f.Sync())).To(Succeed())
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = unix.Munmap(mapped) }()
	write := func(text string) {
		copy(mapped, text)
		copy(mapped[size-4096:], text)
	}
	write("first")
	time.Sleep(100 * time.Millisecond) // a write has times of its own
	looks := 0
	d := kopia.WithFileStat(kopia.WithDirtyFor(kopia.Driver{}, time.Minute), func() {
		if looks++; looks == 2 { // the file was read
			write("other")
		}
	})
	e := enginetest.Open(t, d, initialized(t))
	s, _ := backUp(ctx, g, e, src, repository.BackupOptions{})
	_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	data, err := os.ReadFile(filepath.Join(out, "data"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data[:5])).To(Equal("other"), "it was read again")
}

// ignoring takes a file for unchanged by size and time of the last write alone.
var ignoring = repository.BackupOptions{IgnoreInode: true, FullReadEvery: time.Hour}
