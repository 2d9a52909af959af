package kopia_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// mails returns a tree of two directories that each hold an entry, and a driver that moves an entry once into the
// directory that was read first. The driver does so when the other is looked up, or the entry in it.
func mails(t *testing.T, when string, isDir bool) (src string, d kopia.Driver) {
	t.Helper()
	g := NewWithT(t)
	src = t.TempDir()
	for _, name := range []string{"a/mail-a", "b/mail-b"} {
		dir := filepath.Dir(name)
		if isDir {
			dir = name
		}
		g.Expect(os.MkdirAll(filepath.Join(src, dir), 0o755)).To(Succeed())
		if isDir {
			name += "/text"
		}
		g.Expect(os.WriteFile(filepath.Join(src, name), []byte("text"), 0o644)).To(Succeed())
	}
	other := map[string]string{"a": "b", "b": "a"}
	read, moved := "", false
	d = kopia.WithLstat(kopia.Driver{}, func(name string) error {
		from, isMail := strings.CutPrefix(name, "mail-")
		switch {
		case len(from) != 1 || moved:
		case isMail && read == "":
			read = from
		case isMail == (when == "mail") && read == other[from]:
			moved = true
			return os.Rename(filepath.Join(src, from, "mail-"+from), filepath.Join(src, read, "mail-"+from))
		}
		return nil
	})
	t.Cleanup(func() { g.Expect(moved).To(BeTrue()) })
	return src, d
}

// TestWhatMovesDuringABackupIsInTheSnapshot checks a mail server that moves a mail into a directory that was read
// before. The mail exists at each moment, so a snapshot without it is not whole.
func TestWhatMovesDuringABackupIsInTheSnapshot(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		when  string
		isDir bool
		opt   repository.BackupOptions
	}{
		"after its directory was listed":     {when: "mail"},
		"before its directory was listed":    {when: "directory"},
		"a directory after that":             {when: "mail", isDir: true},
		"a directory before that":            {when: "directory", isDir: true},
		"where changed files are allowed":    {when: "directory", opt: repository.BackupOptions{AllowChanged: true}},
		"where inode and ctime do not count": {when: "directory", opt: ignoring},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, r := NewWithT(t), t.Context(), initialized(t)
			src, d := mails(t, tc.when, tc.isDir)
			tc.opt.Parallel = 1
			s, err := enginetest.Open(t, d, r).Backup(ctx, repository.Source{Name: "d", Dir: src}, tc.opt)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect([]int64{s.Files, s.Vanished}).To(Equal([]int64{2, 0}))
			res, err := enginetest.Open(t, kopia.Driver{}, r).Restore(ctx, s.ID, src,
				repository.RestoreOptions{OnConflict: repository.ConflictReplace, DeleteExtra: true})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Deleted).To(BeZero(), "no file is extra")
			g.Expect(filepath.Glob(filepath.Join(src, "*", "mail-*"))).To(HaveLen(2))
		})
	}
}

// TestADirectoryThatNeverRests checks how often a tree is read in which files come and go all the time.
func TestADirectoryThatNeverRests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opt      repository.BackupOptions
		busy     bool
		passes   int
		restless int64
	}{
		"that rests":       {passes: 1},
		"that never rests": {busy: true, passes: 3, restless: 1},
		"where changed files are allowed": {
			busy: true, passes: 2, restless: 1, opt: repository.BackupOptions{AllowChanged: true},
		},
		"in a copy": {busy: true, passes: 1, opt: repository.BackupOptions{CopiedAt: time.Now()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src, passes := NewWithT(t), t.TempDir(), 0
			deep := strings.Repeat(strings.Repeat("x", 250)+"/", 20) // longer than a path can be
			g.Expect(mkdirAll(src, deep)).To(Succeed())
			g.Expect(os.WriteFile(filepath.Join(src, "file"), []byte("text"), 0o644)).To(Succeed())
			d := kopia.WithLstat(kopia.Driver{}, func(name string) error {
				if name != "file" {
					return nil
				}
				if passes++; tc.busy {
					return os.WriteFile(filepath.Join(src, fmt.Sprint("new", passes)), nil, 0o644)
				}
				return nil
			})
			e := enginetest.Open(t, d, initialized(t))
			s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, tc.opt)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.Dirs).To(BeNumerically(">", 20))
			g.Expect(passes).To(Equal(tc.passes))
			g.Expect(s.Restless).To(Equal(tc.restless))
			g.Expect(e.List(t.Context(), "d")).To(ConsistOf(HaveField("Restless", tc.restless)))
		})
	}
}

// canceledWhenAsked is canceled when somebody asks whether it is.
type canceledWhenAsked struct {
	context.Context
	cancel func()
}

// Err implements context.Context.
func (c canceledWhenAsked) Err() error {
	c.cancel()
	return c.Context.Err()
}

// TestAFinishedPassOutlivesACancellation checks a tree that never rests, and a backup that is canceled after a pass or
// during the next one: what it has read is a snapshot.
func TestAFinishedPassOutlivesACancellation(t *testing.T) {
	t.Parallel()
	for name, during := range map[string]bool{"after it": false, "during the next": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src, passes := NewWithT(t), t.TempDir(), 0
			g.Expect(os.WriteFile(filepath.Join(src, "file"), []byte("text"), 0o644)).To(Succeed())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := kopia.WithLstat(kopia.Driver{}, func(name string) error {
				if name != "file" {
					return nil
				}
				if passes++; passes > 1 {
					cancel()
					time.Sleep(200 * time.Millisecond) // until it has told the uploader
				}
				return os.WriteFile(filepath.Join(src, fmt.Sprint("new", passes)), nil, 0o644)
			})
			e := enginetest.Open(t, d, initialized(t))
			if !during {
				ctx = canceledWhenAsked{ctx, cancel}
			}
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.Files).To(BeNumerically(">", 0))
			g.Expect(e.List(t.Context(), "d")).To(HaveLen(1))
			g.Expect(passes == 2).To(Equal(during))
		})
	}
}

// TestNoPassLeavesACheckpoint checks checkpoints of a later pass. The next backup would continue them.
func TestNoPassLeavesACheckpoint(t *testing.T) {
	t.Parallel()
	g, src, passes := NewWithT(t), t.TempDir(), 0
	g.Expect(os.WriteFile(filepath.Join(src, "file"), []byte("text"), 0o644)).To(Succeed())
	d := kopia.WithLstat(kopia.Driver{}, func(name string) error {
		if name != "file" {
			return nil
		}
		if passes++; passes == 2 {
			time.Sleep(500 * time.Millisecond)
		}
		return os.WriteFile(filepath.Join(src, fmt.Sprint("new", passes)), nil, 0o644)
	})
	e := enginetest.Open(t, d, initialized(t))
	_, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{CheckpointEvery: 20 * time.Millisecond})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(passes).To(Equal(3))
	g.Expect(kopia.Unfinished(t.Context(), e)).To(BeEmpty())
}

// TestNoCheckpointIsSavedAfterTheEnd checks uploads that end while a checkpoint is under way, which kopia does not wait
// for.
func TestNoCheckpointIsSavedAfterTheEnd(t *testing.T) {
	t.Parallel()
	g, src := NewWithT(t), t.TempDir()
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	for i := range 50 {
		g.Expect(os.WriteFile(filepath.Join(src, fmt.Sprint("new", i)), []byte("text"), 0o644)).To(Succeed())
		_, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src},
			repository.BackupOptions{CheckpointEvery: time.Millisecond})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(kopia.Unfinished(t.Context(), e)).To(BeEmpty())
	}
}

// TestBothLooksAtAFileTellTheSame checks that a file that nobody changes has the same attributes when it is opened and
// when it is closed. Otherwise each backup would read each file again.
func TestBothLooksAtAFileTellTheSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	NewWithT(t).Expect(os.WriteFile(file, []byte("text"), 0o640)).To(Succeed())
	for _, name := range []string{file, dir, "/dev/null"} {
		g := NewWithT(t)
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = unix.Close(fd) }()
		var first, second unix.Stat_t
		g.Expect(kopia.Fstat(fd, &first)).To(Succeed())
		g.Expect(kopia.FstatNow(fd, &second)).To(Succeed())
		of := func(st unix.Stat_t) []any {
			return []any{st.Dev, st.Ino, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim}
		}
		g.Expect(of(second)).To(Equal(of(first)), name)
	}
	g := NewWithT(t)
	g.Expect(kopia.FstatNow(-1, &unix.Stat_t{})).To(MatchError(unix.EBADF))
}

// mkdirAll makes directories below dir, one in the other.
func mkdirAll(dir, names string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for name := range strings.SplitSeq(strings.Trim(names, "/"), "/") {
		if err != nil {
			return err
		}
		if err = unix.Mkdirat(fd, name, 0o755); err != nil {
			return err
		}
		up := fd
		fd, err = unix.Openat(up, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		_ = unix.Close(up)
	}
	_ = unix.Close(fd)
	return err
}
