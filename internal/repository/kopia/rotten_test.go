package kopia_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/kopia/faultstore"
)

// rot changes n bytes of a file, from at on. Its length stays.
func rot(file string, at, n int64) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for i := range b[at : at+n] {
		b[int(at)+i] ^= 0xff
	}
	return os.WriteFile(file, b, 0o600)
}

// rotAll changes all bytes of a file.
func rotAll(file string) error {
	fi, err := os.Stat(file)
	if err != nil {
		return err
	}
	return rot(file, 0, fi.Size())
}

// rotAt changes the content of a file or directory of a snapshot.
func rotAt(t *testing.T, r repository.Repository, id, path string) {
	t.Helper()
	g := NewWithT(t)
	inSession(t, r, func(e repository.Engine) {
		pack, at, n, err := kopia.PlaceOf(t.Context(), e, id, path)
		g.Expect(err).NotTo(HaveOccurred())
		lose(t, r, string(pack), func(file string) error { return rot(file, at, n) })
	})
}

// restores restores a snapshot, and tells the next backup if its data is rotten, as a mover does.
func restores(t *testing.T, d kopia.Driver, r repository.Repository, id string) error {
	t.Helper()
	e := enginetest.Open(t, d, r)
	_, err := e.Restore(t.Context(), id, t.TempDir(), repository.RestoreOptions{})
	NewWithT(t).Expect(e.Doubt(t.Context(), append(e.Rotten(), "none")...)).To(Succeed())
	return err
}

// duplicates makes a tree in which one content has several names.
func duplicates(t *testing.T) string {
	t.Helper()
	src := t.TempDir()
	enginetest.Incompressible(t, src, 3, 1<<20)
	for _, name := range []string{"a", "b", "c", "d"} {
		dir := filepath.Join(src, name)
		NewWithT(t).Expect(os.CopyFS(dir, os.DirFS(filepath.Join(src, "0")))).To(Succeed())
	}
	return src
}

// TestABackupAfterRotSendsItAgain checks that a source heals after its storage returned other bytes than were written,
// whoever found that out. The snapshots before it are whole again where they hold the same data, and all of them stay
// so through maintenance.
func TestABackupAfterRotSendsItAgain(t *testing.T) {
	t.Parallel()
	files := func(t *testing.T, r repository.Repository, _ string) { lose(t, r, "p", rotAll) }
	root := func(t *testing.T, r repository.Repository, id string) { rotAt(t, r, id, "") }
	nobody := func(*testing.T, kopia.Driver, repository.Repository, string) {}
	check := func(t *testing.T, d kopia.Driver, r repository.Repository, id string) {
		NewWithT(t).Expect(enginetest.Open(t, d, r).Check(t.Context(), []string{id})).To(ConsistOf(id))
	}
	restore := func(t *testing.T, d kopia.Driver, r repository.Repository, id string) {
		NewWithT(t).Expect(restores(t, d, r, id)).To(MatchError(repository.ErrCorrupt))
	}
	for name, tc := range map[string]struct {
		rot   func(*testing.T, repository.Repository, string)
		found func(*testing.T, kopia.Driver, repository.Repository, string)
	}{
		"of a directory, found by a check":    {root, check},
		"of a directory, found by a restore":  {root, restore},
		"of a directory, found by the backup": {root, nobody},
		"of a directory, beside files that are gone, found by a check": {
			func(t *testing.T, r repository.Repository, id string) { root(t, r, id); lose(t, r, "p", os.Remove) },
			check,
		},
		"of files, found by a restore": {files, restore},
		"of files after one of a directory that is known": {
			func(t *testing.T, r repository.Repository, id string) { files(t, r, id); root(t, r, id) }, check,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), duplicates(t)
			d, c := dated()
			old, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
			c.pass(24 * time.Hour)
			tc.rot(t, r, old.ID)
			tc.found(t, d, r, old.ID)
			c.pass(time.Hour)
			healed, p := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{Parallel: 8})
			g.Expect(p.FilesUnchanged).To(BeZero(), "it reads every file")
			whole := func(ids ...string) {
				e := enginetest.Open(t, d, r)
				g.Expect(e.Check(ctx, ids)).To(BeEmpty())
				for _, id := range ids {
					_, err := e.Verify(ctx, id, 100)
					g.Expect(err).NotTo(HaveOccurred())
				}
				g.Expect(e.Rotten()).To(BeEmpty())
			}
			whole(old.ID, healed.ID)
			g.Expect(restores(t, d, r, healed.ID)).To(Succeed())
			for range 3 {
				c.pass(26 * time.Hour)
				next, p := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
				g.Expect(p.FilesUnchanged).To(Equal(p.FilesDone), "the damage is over")
				g.Expect(enginetest.Open(t, d, r).Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed())
				whole(old.ID, healed.ID, next.ID)
			}
		})
	}
}

// TestABackupThatMeetsRotDoubtsTheRest checks a backup that meets a rotten directory, and takes from another one the
// files that did not change. Their data is rotten, too. The next backup reads every file.
func TestABackupThatMeetsRotDoubtsTheRest(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
	for name, size := range map[string]int{"one": 1 << 20, "other": 1<<20 + 1} {
		enginetest.Incompressible(t, filepath.Join(src, name), 3, size)
	}
	d, c := dated()
	old, p := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	all := p.FilesDone
	c.pass(24 * time.Hour)
	rotAt(t, r, old.ID, "one")
	rotAt(t, r, old.ID, "other/0/0")
	for _, unchanged := range []int64{all / 2, 0, all, all} {
		s, p := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
		g.Expect(p.FilesUnchanged).To(Equal(unchanged))
		c.pass(24 * time.Hour)
		g.Expect(enginetest.Open(t, d, r).Check(ctx, []string{s.ID})).To(BeEmpty())
		if unchanged != all/2 {
			g.Expect(restores(t, d, r, s.ID)).To(Succeed())
		}
	}
	g.Expect(restores(t, d, r, old.ID)).To(Succeed())
}

// TestAKilledBackupThatMetRotDoubtsTheRest checks the same for a backup that goes down after a checkpoint, which has
// sent the rotten directory again: the next one does not meet it.
func TestAKilledBackupThatMetRotDoubtsTheRest(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), t.TempDir()
	for i, name := range []string{"a", "b", "c"} {
		enginetest.Incompressible(t, filepath.Join(src, name), 3, 1<<20+i)
	}
	enginetest.Incompressible(t, filepath.Join(src, "c", "last"), 1, 100)
	d, c := dated()
	old, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	c.pass(24 * time.Hour)
	rotAt(t, r, old.ID, "b")
	rotAt(t, r, old.ID, "a/0/0")
	var down atomic.Bool
	var taken atomic.Int64
	dying, within := d, d.Wrap
	dying.Wrap = func(st blob.Storage) blob.Storage {
		return faultstore.Wrap(within(st), func(call faultstore.Call) (f faultstore.Fault) {
			if call.Op == "put" && down.Load() {
				f.Err = faultstore.ErrInjected
			}
			return f
		})
	}
	dying = kopia.WithLstat(dying, func(name string) error {
		if name != "last" || down.Load() {
			return nil
		}
		g.Eventually(taken.Load, "20s").Should(BeNumerically(">=", 3), "those of a")
		for range 2 { // the first one can have begun before
			before, err := kopia.Unfinished(ctx, enginetest.Open(t, d, r))
			g.Expect(err).NotTo(HaveOccurred())
			g.Eventually(func() ([]string, error) {
				now, err := kopia.Unfinished(ctx, enginetest.Open(t, d, r))
				return slices.DeleteFunc(now, func(id string) bool { return slices.Contains(before, id) }), err
			}, "20s").ShouldNot(BeEmpty())
		}
		down.Store(true)
		return nil
	})
	_, err := enginetest.Open(t, dying, r).Backup(ctx, repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{
			Parallel: 1, CheckpointEvery: time.Millisecond, ProgressEvery: time.Millisecond,
			Progress: func(p repository.Progress) { taken.Store(p.FilesUnchanged) },
		})
	g.Expect(err).To(HaveOccurred())
	c.pass(time.Hour)
	s, p := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(BeZero(), "it reads every file")
	_, err = enginetest.Open(t, d, r).Verify(ctx, s.ID, 100)
	g.Expect(err).NotTo(HaveOccurred())
}

// TestAStreamAfterRotIsSentAgain checks the same for the dump of a database.
func TestAStreamAfterRotIsSentAgain(t *testing.T) {
	t.Parallel()
	g, ctx, r, dump := NewWithT(t), t.Context(), initialized(t), make([]byte, 9<<20)
	rand.New(rand.NewSource(1)).Read(dump)
	d, c := dated()
	backUp := func() repository.Snapshot {
		c.pass(24 * time.Hour)
		s, err := enginetest.Open(t, d, r).Backup(ctx, repository.Source{Name: "d", Stream: bytes.NewReader(dump)},
			repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		return s
	}
	old := backUp()
	lose(t, r, "p", rotAll)
	e := enginetest.Open(t, d, r)
	g.Expect(e.RestoreStream(ctx, old.ID, io.Discard)).To(MatchError(repository.ErrCorrupt))
	g.Expect(e.Rotten()).To(ConsistOf(old.ID))
	g.Expect(e.Doubt(ctx, e.Rotten()...)).To(Succeed())
	g.Expect(backUp().BytesSent).To(BeNumerically(">", len(dump)))
	g.Expect(backUp().BytesSent).To(BeNumerically("<", 100<<10))
	var got bytes.Buffer
	g.Expect(enginetest.Open(t, d, r).RestoreStream(ctx, old.ID, &got)).To(Succeed())
	g.Expect(bytes.Equal(got.Bytes(), dump)).To(BeTrue())
}

// TestOnlyADoubtedSourceIsReadBack checks how often a backup that reads every file reads data of the repository: not at
// all, or each content once if damage is known. An error that may pass fails the backup, and nothing is sent again.
func TestOnlyADoubtedSourceIsReadBack(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), duplicates(t)
	d, c := dated()
	var reads atomic.Int64
	var fails atomic.Pointer[error]
	dates := d.Wrap
	d.Wrap = func(st blob.Storage) blob.Storage {
		return faultstore.Wrap(dates(st), func(call faultstore.Call) (f faultstore.Fault) {
			if call.Op != "get" || call.ID[0] != 'p' {
				return f
			}
			reads.Add(1)
			if err := fails.Load(); err != nil {
				f.Err = *err
			}
			return f
		})
	}
	full := repository.BackupOptions{FullReadEvery: time.Hour}
	source := repository.Source{Name: "d", Dir: src}
	old, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, full)
	c.pass(24 * time.Hour)
	_, p := backUp(ctx, g, enginetest.Open(t, d, r), src, full)
	g.Expect(p.FilesUnchanged).To(BeZero())
	g.Expect(reads.Load()).To(BeZero())

	g.Expect(enginetest.Open(t, d, r).Doubt(ctx, old.ID)).To(Succeed())
	for _, err := range []error{context.DeadlineExceeded, blob.ErrBlobNotFound, faultstore.ErrInjected} {
		c.pass(24 * time.Hour)
		fails.Store(&err)
		s, failure := enginetest.Open(t, d, r).Backup(ctx, source, repository.BackupOptions{Parallel: 1})
		g.Expect(failure).To(MatchError(err))
		g.Expect(s.BytesSent).To(BeNumerically("<", 100<<10))
	}
	fails.Store(nil)
	reads.Store(0)
	s, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{Parallel: 1})
	g.Expect(s.BytesSent).To(BeNumerically("<", 100<<10))
	g.Expect(reads.Load()).To(BeEquivalentTo(3), "each content once")
}

// TestACacheThatOutlivesRot checks that what a restore has cached of rotten data is not what a later one reads.
func TestACacheThatOutlivesRot(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), duplicates(t)
	d, c := dated()
	s, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	c.pass(24 * time.Hour)
	lose(t, r, "p", rotAll)
	cached := r
	cached.CacheDir = t.TempDir()
	restore := func() error {
		e, err := d.Open(ctx, cached)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = e.Restore(ctx, s.ID, t.TempDir(), repository.RestoreOptions{})
		rotten := e.Rotten()
		g.Expect(e.Close(ctx)).To(Succeed())
		g.Expect(enginetest.Open(t, d, r).Doubt(ctx, rotten...)).To(Succeed())
		return err
	}
	g.Expect(restore()).To(MatchError(repository.ErrCorrupt))
	backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	g.Expect(restore()).To(Succeed())
}

// TestWhatCountsAsRotten checks that neither an error that may pass, nor the name of a file, counts as rotten data.
func TestWhatCountsAsRotten(t *testing.T) {
	t.Parallel()
	const checksum = "invalid checksum at p1 offset 1 length 2/2: decrypt"
	sealed := errors.New("unable to decrypt content: cipher: message authentication failed")
	for name, tc := range map[string]struct {
		err    error
		rotten bool
	}{
		"nothing":          {},
		"a rotten content": {fmt.Errorf("dir/file: %w", fmt.Errorf("%s: %w", checksum, sealed)), true},
		"one with its kind": {
			&repository.Error{Kind: repository.ErrCorrupt, Err: fmt.Errorf("%s: %w", checksum, sealed)}, true,
		},
		"an index":         {fmt.Errorf("error loading index blob: %w", sealed), false},
		"a missing pack":   {fmt.Errorf("%s: %w", checksum, blob.ErrBlobNotFound), false},
		"a server's error": {fmt.Errorf("malformed directory k1: %w", errors.New("503 Service Unavailable")), false},
		"a name": {
			fmt.Errorf("%s: %s: %w", checksum, sealed.Error(), errors.New("no space left on device")), false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(kopia.IsRotten(tc.err)).To(Equal(tc.rotten))
		})
	}
}

// TestRotThatARestoreMeetsAgainIsSentAgain checks that damage of a snapshot which is known, and was healed, counts anew
// when a later restore meets it.
func TestRotThatARestoreMeetsAgainIsSentAgain(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), duplicates(t)
	d, c := dated()
	old, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	for range 2 {
		c.pass(24 * time.Hour)
		lose(t, r, "p", rotAll)
		g.Expect(restores(t, d, r, old.ID)).To(MatchError(repository.ErrCorrupt))
		c.pass(time.Hour)
		_, p := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
		g.Expect(p.FilesUnchanged).To(BeZero(), "it reads every file")
		g.Expect(restores(t, d, r, old.ID)).To(Succeed())
	}
	c.pass(time.Hour)
	_, p := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	g.Expect(p.FilesUnchanged).To(Equal(p.FilesDone), "the damage is over")
}

// TestADiskThatCannotReadABlockEndsNoBackup checks that a doubted source is backed up although a part of what the
// repository has of it can never be read again.
func TestADiskThatCannotReadABlockEndsNoBackup(t *testing.T) {
	t.Parallel()
	g, ctx, r, src := NewWithT(t), t.Context(), initialized(t), duplicates(t)
	d, c := dated()
	old, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	e := enginetest.Open(t, d, r)
	pack, _, _, err := kopia.PlaceOf(ctx, e, old.ID, "0/0")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Doubt(ctx, old.ID)).To(Succeed())
	c.pass(time.Hour)
	within := d.Wrap
	d.Wrap = func(st blob.Storage) blob.Storage {
		return faultstore.Wrap(within(st), func(c faultstore.Call) faultstore.Fault {
			if c.Op == "get" && c.ID == pack {
				return faultstore.Fault{Err: unix.EIO}
			}
			return faultstore.Fault{}
		})
	}
	healed, _ := backUp(ctx, g, enginetest.Open(t, d, r), src, repository.BackupOptions{})
	_, err = enginetest.Open(t, d, r).Verify(ctx, healed.ID, 100)
	g.Expect(err).NotTo(HaveOccurred())
}
