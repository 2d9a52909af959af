package kopia_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kopia/kopia/snapshot"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// killer ends a restore before one of its changes of the target, as SIGKILL does.
type killer struct {
	armed       bool
	done, after int
}

func (k *killer) step() {
	if !k.armed {
		return
	}
	if k.done == k.after {
		runtime.Goexit()
	}
	k.done++
}

// restore restores until a number of changes was made. It reports whether the restore was killed.
func (k *killer) restore(
	t *testing.T, e repository.Engine, id, out string, c repository.Conflict, after int,
) (killed bool) {
	t.Helper()
	k.armed, k.done, k.after = true, 0, after
	defer func() { k.armed = false }()
	killed = true
	over := make(chan error, 1)
	go func() {
		defer close(over)
		_, err := e.Restore(t.Context(), id, out, restoring(c))
		killed = false
		over <- err
	}()
	NewWithT(t).Expect(<-over).NotTo(HaveOccurred())
	return killed
}

// restoring returns options with which one goroutine restores all.
func restoring(c repository.Conflict) repository.RestoreOptions {
	return repository.RestoreOptions{OnConflict: c, Parallel: 1, Owners: os.Getuid() == 0}
}

// killedTree is a tree with entries of all sorts. The times of its entries are long ago.
func killedTree(t *testing.T) string {
	t.Helper()
	g, src := NewWithT(t), t.TempDir()
	holey := bytes.Repeat([]byte("data"), 3<<10)
	clear(holey[4096:8192])
	g.Expect(os.MkdirAll(filepath.Join(src, "dir/sub/empty"), 0o755)).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Join(src, "fixed"), 0o755)).To(Succeed())
	for name, content := range map[string][]byte{
		"a": []byte("ours"), "dir/x": []byte("ours"), "dir/X": []byte("ours"), "dir/holey": holey,
		"dir/sub/y": []byte("ours"), "fixed/z": []byte("ours"),
	} {
		g.Expect(os.WriteFile(filepath.Join(src, name), content, 0o640)).To(Succeed())
	}
	g.Expect(os.Link(filepath.Join(src, "dir/x"), filepath.Join(src, "dir/linked"))).To(Succeed())
	g.Expect(os.Symlink("a", filepath.Join(src, "link"))).To(Succeed())
	g.Expect(unix.Mkfifo(filepath.Join(src, "pipe"), 0o620)).To(Succeed())
	for name, mode := range map[string]os.FileMode{
		".": 0o751, "dir": 0o771 | os.ModeSetgid, "dir/sub": 0o700, "dir/sub/empty": 0o711, "fixed": 0o555,
	} {
		g.Expect(os.Chmod(filepath.Join(src, name), mode)).To(Succeed())
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(src, "fixed"), 0o755) })
	longAgo(t, src, 2)
	return src
}

// longAgo gives all entries of a tree times of some hours after a fixed time.
func longAgo(t *testing.T, dir string, hours int) {
	t.Helper()
	at := time.Date(2026, 7, 1, hours, 0, 0, 5, time.UTC)
	ts := unix.NsecToTimespec(at.UnixNano())
	NewWithT(t).Expect(filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})).To(Succeed())
}

// attributesOf describes all entries of a tree. The times of directories count only where they were set.
func attributesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	NewWithT(t).Expect(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if d.Type().IsRegular() {
			if content, err = os.ReadFile(p); err != nil {
				return err
			}
		} else if d.Type() == fs.ModeSymlink {
			to, _ := os.Readlink(p)
			content = []byte(to)
		}
		at := info.ModTime().UnixNano()
		if d.IsDir() {
			at = 0
		}
		st := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(dir, p)
		out[rel] = fmt.Sprintf("%v %d:%d %d %d bytes %x", info.Mode(), st.Uid, st.Gid, at, len(content),
			sha256.Sum256(content))
		return nil
	})).To(Succeed())
	return out
}

// TestAKilledRestoreIsCompletedUnderEachPolicy kills a restore before each of its changes. The next restore must leave
// what an undisturbed one leaves, whatever it keeps: nothing that is not whole may have the name of an entry, and no
// directory the attributes that it was made with.
func TestAKilledRestoreIsCompletedUnderEachPolicy(t *testing.T) {
	t.Parallel()
	src, place := killedTree(t), initialized(t)
	s, err := enginetest.Open(t, kopia.Driver{}, place).
		Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, tc := range map[string]struct {
		first, second repository.Conflict
		used          bool // the volume holds something before
	}{
		"replace":               {repository.ConflictReplace, repository.ConflictReplace, true},
		"if newer":              {repository.ConflictNewer, repository.ConflictNewer, true},
		"never":                 {repository.ConflictSkip, repository.ConflictSkip, true},
		"empty, then replace":   {repository.ConflictFail, repository.ConflictReplace, false},
		"empty, then if newer":  {repository.ConflictFail, repository.ConflictNewer, false},
		"empty, then if absent": {repository.ConflictFail, repository.ConflictSkip, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, k := NewWithT(t), &killer{}
			e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, k.step), enginetest.Repo(t, place.Storage))
			fresh := func() string {
				out := enginetest.InMemory(t)
				t.Cleanup(func() { _ = os.Chmod(filepath.Join(out, "fixed"), 0o700) })
				if tc.used {
					g.Expect(os.Mkdir(filepath.Join(out, "dir"), 0o700)).To(Succeed())
					g.Expect(os.WriteFile(filepath.Join(out, "a"), []byte("theirs, older"), 0o600)).To(Succeed())
					longAgo(t, out, 1)
					newer := filepath.Join(out, "link") // in the snapshot it is older
					g.Expect(os.WriteFile(newer, []byte("theirs"), 0o600)).To(Succeed())
					g.Expect(os.Chtimes(newer, time.Time{}, time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC))).To(Succeed())
					g.Expect(os.Chtimes(out, time.Time{}, time.Unix(1, 0))).To(Succeed())
				}
				return out
			}
			whole := fresh()
			g.Expect(k.restore(t, e, s.ID, whole, tc.first, -1)).To(BeFalse())
			want := attributesOf(t, whole)
			if !tc.used {
				enginetest.Same(t, src, whole)
			}
			n := 1 // nothing was changed before
			for killed := true; killed; n++ {
				out := fresh()
				killed = k.restore(t, e, s.ID, out, tc.first, n)
				_, err := e.Restore(t.Context(), s.ID, out, restoring(tc.second))
				g.Expect(err).NotTo(HaveOccurred(), "after %d changes", n)
				g.Expect(attributesOf(t, out)).To(Equal(want), "after %d changes", n)
				if tc.second == repository.ConflictReplace {
					enginetest.Same(t, whole, out)
				}
			}
			g.Expect(n).To(BeNumerically(">", 20), "so few changes cannot be all")
		})
	}
}

// unfinishedIn kills a restore when a directory is there that has no attributes yet.
func unfinishedIn(t *testing.T, k *killer, e repository.Engine, id, out, dir string) {
	t.Helper()
	for n := 1; ; n++ {
		_ = os.Chmod(filepath.Join(out, "fixed"), 0o700)
		NewWithT(t).Expect(os.RemoveAll(out)).To(Succeed())
		NewWithT(t).Expect(os.Mkdir(out, 0o755)).To(Succeed())
		NewWithT(t).Expect(k.restore(t, e, id, out, repository.ConflictFail, n)).To(BeTrue())
		if _, err := os.Lstat(filepath.Join(out, dir, repository.RestoreMark)); err == nil {
			return
		}
	}
}

// TestAMarkThatCountsNoMore checks that a restore which keeps newer entries changes no directory that a user has
// changed since a restore was killed, and that the restore of another snapshot leaves the mark to its own.
func TestAMarkThatCountsNoMore(t *testing.T) {
	t.Parallel()
	g, k, src := NewWithT(t), &killer{}, t.TempDir()
	e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, k.step), initialized(t))
	backUp := func(file string) string {
		g.Expect(os.MkdirAll(filepath.Join(src, "dir"), 0o750)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(src, "dir", file), []byte("x"), 0o600)).To(Succeed())
		longAgo(t, src, 1)
		s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		return s.ID
	}
	first, second := backUp("a"), backUp("b")
	out := filepath.Join(t.TempDir(), "out")
	after := func(id string) os.FileMode {
		_, err := e.Restore(t.Context(), id, out, restoring(repository.ConflictNewer))
		g.Expect(err).NotTo(HaveOccurred())
		info, err := os.Stat(filepath.Join(out, "dir"))
		g.Expect(err).NotTo(HaveOccurred())
		return info.Mode().Perm()
	}
	unfinishedIn(t, k, e, first, out, "dir")
	g.Expect(os.Chmod(filepath.Join(out, "dir"), 0o711)).To(Succeed())
	g.Expect(after(first)).To(BeEquivalentTo(0o711), "a user chose it")

	unfinishedIn(t, k, e, first, out, "dir")
	g.Expect(after(second)).To(BeEquivalentTo(0o700), "the directory is newer than that of this snapshot")
	g.Expect(after(first)).To(BeEquivalentTo(0o750))
	g.Expect(filepath.Join(out, "dir", repository.RestoreMark)).NotTo(BeAnExistingFile())
}

// TestWhatAKilledRestoreLeavesIsNotBackedUp checks that unfinished entries and marks get into no snapshot.
func TestWhatAKilledRestoreLeavesIsNotBackedUp(t *testing.T) {
	t.Parallel()
	g, k, src := NewWithT(t), &killer{}, killedTree(t)
	r, told := initialized(t), ""
	r.Log = func(level, component, msg string) {
		if component == "backup" {
			told += level + " " + msg
		}
	}
	e := enginetest.Open(t, kopia.WithStep(kopia.Driver{}, k.step), r)
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(told).To(BeEmpty())
	out := filepath.Join(t.TempDir(), "out")
	unfinishedIn(t, k, e, s.ID, out, "dir")
	g.Expect(filepath.Join(out, repository.RestoreMark)).NotTo(Equal(""), "the root is marked too")
	mine := filepath.Join(out, ".cairn~r-mine")
	g.Expect(os.WriteFile(mine, []byte("x"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(out, repository.NewUnfinishedName()), []byte("x"), 0o600)).To(Succeed())
	s, err = e.Backup(t.Context(), repository.Source{Name: "d", Dir: out}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(told).To(MatchRegexp(`^warn [2-9] entries of unfinished restores left out, first ".*\.cairn~r-.*"`))
	again := t.TempDir()
	_, err = e.Restore(t.Context(), s.ID, again, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(filepath.WalkDir(again, func(p string, d fs.DirEntry, err error) error {
		g.Expect(repository.IsOfARestore(d.Name())).To(BeFalse(), p)
		return err
	})).To(Succeed())
	g.Expect(filepath.Join(again, filepath.Base(mine))).To(BeAnExistingFile(), "a name that is only similar")
}

// TestASnapshotWithTheNamesOfARestore checks that a snapshot of an earlier version, which took in what a killed restore
// had left, is restored as it is.
func TestASnapshotWithTheNamesOfARestore(t *testing.T) {
	t.Parallel()
	g, src := NewWithT(t), t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		g.Expect(os.WriteFile(filepath.Join(src, name), []byte(name), 0o600)).To(Succeed())
	}
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	half := repository.NewUnfinishedName()
	id := kopia.WithEntries(t, e, s.ID, func(entries []*snapshot.DirEntry) {
		entries[0].Name, entries[1].Name = kopia.EncodeName(repository.RestoreMark), kopia.EncodeName(half)
	})
	for range 2 { // into an empty volume, and then over what is there
		_, err = e.Restore(t.Context(), id, filepath.Join(src), repository.RestoreOptions{
			OnConflict: repository.ConflictReplace, DeleteExtra: true,
		})
		g.Expect(err).NotTo(HaveOccurred())
		for name, want := range map[string]string{repository.RestoreMark: "a", half: "b", "c": "c"} {
			g.Expect(os.ReadFile(filepath.Join(src, name))).To(BeEquivalentTo(want), name)
		}
		entries, err := os.ReadDir(src)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(entries).To(HaveLen(3), strings.Join(namesOf(entries), " "))
	}
}

func namesOf(entries []os.DirEntry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
