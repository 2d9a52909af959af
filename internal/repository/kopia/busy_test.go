package kopia_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// restoredInPlace restores a snapshot over its source, deletes what is extra, and returns the result.
func restoredInPlace(t *testing.T, r repository.Repository, id, src string) repository.RestoreResult {
	t.Helper()
	res, err := enginetest.Open(t, kopia.Driver{}, r).Restore(t.Context(), id, src,
		repository.RestoreOptions{OnConflict: repository.ConflictReplace, DeleteExtra: true})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return res
}

// TestAWholePassIsKept checks a tree that never rests, and a file that is written to while the last pass reads it. The
// pass before was whole.
func TestAWholePassIsKept(t *testing.T) {
	t.Parallel()
	g, src, passes := NewWithT(t), t.TempDir(), 0
	file := filepath.Join(src, "file")
	g.Expect(os.WriteFile(file, []byte("text"), 0o644)).To(Succeed())
	d := kopia.WithLstat(kopia.Driver{}, func(name string) error {
		if name != "file" {
			return nil
		}
		passes++
		return errors.Join(os.WriteFile(filepath.Join(src, fmt.Sprint("new", passes)), nil, 0o644),
			os.WriteFile(file, fmt.Append(nil, "text", passes), 0o644))
	})
	looks, wrote := 0, error(nil)
	d = kopia.WithFileStat(d, func() {
		if looks++; passes == 3 {
			wrote = errors.Join(wrote, os.WriteFile(file, fmt.Append(nil, "torn", looks), 0o644))
		}
	})
	e := enginetest.Open(t, d, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{Parallel: 1})
	g.Expect(errors.Join(err, wrote)).NotTo(HaveOccurred())
	g.Expect(passes).To(Equal(3))
	g.Expect([]int64{s.Changed, s.Unreadable}).To(Equal([]int64{0, 0}))
	out := t.TempDir()
	_, err = e.Restore(t.Context(), s.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadFile(filepath.Join(out, "file"))).To(BeEquivalentTo("text2"))
}

// TestWhatMovesBesideABusyFileIsInTheSnapshot checks a mail server that moves a mail during the first pass, into a
// directory that was read before, and a file that is written to during the later passes. The mail exists at each
// moment. The snapshot has it, and the file as the first pass read it.
func TestWhatMovesBesideABusyFileIsInTheSnapshot(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]repository.BackupOptions{
		"where changed files are refused": {Parallel: 1},
		"where changed files are allowed": {Parallel: 1, AllowChanged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, r := NewWithT(t), t.Context(), initialized(t)
			src, d := mails(t, "directory", false)
			busy := filepath.Join(src, "deep", "er", "busy")
			g.Expect(os.MkdirAll(filepath.Dir(busy), 0o755)).To(Succeed())
			g.Expect(os.WriteFile(busy, []byte("at rest"), 0o644)).To(Succeed())
			var passes, writes atomic.Int64
			write := func() { _ = os.WriteFile(busy, fmt.Appendf(nil, "written %09d", writes.Add(1)), 0o644) }
			d = kopia.WithEachLstat(d, func(name string) {
				if name == "busy" && passes.Add(1) > 1 {
					write()
				}
			})
			d = kopia.WithFileStat(d, func() {
				if passes.Load() > 1 {
					write()
				}
			})
			e := enginetest.Open(t, d, r)
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, opt)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(passes.Load()).To(BeNumerically(">", 1))
			g.Expect([]int64{s.Changed, s.Vanished, s.Files}).To(Equal([]int64{0, 0, 3}))
			g.Expect(s.Bytes).To(BeEquivalentTo(len("text") + len("text") + len("at rest")))
			g.Expect(s.Problems).To(BeEmpty())
			_, err = e.Verify(ctx, s.ID, 100)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(restoredInPlace(t, r, s.ID, src).Deleted).To(BeZero(), "no file is extra")
			g.Expect(os.ReadFile(busy)).To(BeEquivalentTo("at rest"))
			g.Expect(filepath.Glob(filepath.Join(src, "*", "mail-*"))).To(HaveLen(2))
		})
	}
}

// TestAFileThatWasNeverWholeCounts checks that no pass gives the content of a file that is written to during each.
func TestAFileThatWasNeverWholeCounts(t *testing.T) {
	t.Parallel()
	g, src, writes := NewWithT(t), t.TempDir(), 0
	file := filepath.Join(src, "file")
	g.Expect(os.WriteFile(file, []byte("text"), 0o644)).To(Succeed())
	d := kopia.WithFileStat(kopia.Driver{}, func() {
		writes++
		_ = os.WriteFile(file, fmt.Appendf(nil, "%07d", writes), 0o644)
	})
	s, err := enginetest.Open(t, d, initialized(t)).Backup(t.Context(), repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Changed).To(BeEquivalentTo(1))
	g.Expect(s.Problems).To(HaveLen(1))
	g.Expect(s.Problems[0].Path).To(Equal("file"))
}

// TestWhatASnapshotMayLackIsNotExtra checks a mail that moves during the last pass. The backup says so, and a restore
// that deletes what is extra leaves the directories alone in which a mail can be missing, and no others.
func TestWhatASnapshotMayLackIsNotExtra(t *testing.T) {
	t.Parallel()
	g, ctx, r := NewWithT(t), t.Context(), initialized(t)
	src, d := mails(t, "directory", false)
	g.Expect(os.Mkdir(filepath.Join(src, "calm"), 0o755)).To(Succeed())
	var mu sync.Mutex
	var said []string
	told := r
	told.Log = func(level, _, msg string) {
		mu.Lock()
		defer mu.Unlock()
		if level == "warn" {
			said = append(said, msg)
		}
	}
	s, err := enginetest.Open(t, kopia.WithPasses(d, 1), told).Backup(ctx, repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{Parallel: 1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]int64{s.Files, s.Restless}).To(Equal([]int64{1, 1}), "the other mail has moved")
	mu.Lock()
	g.Expect(said).To(ContainElement(ContainSubstring("what moved there meanwhile can be missing")))
	mu.Unlock()
	g.Expect(os.WriteFile(filepath.Join(src, "calm", "extra"), nil, 0o644)).To(Succeed())
	res := restoredInPlace(t, r, s.ID, src)
	g.Expect([]int64{res.Deleted, res.ExtraKept}).To(Equal([]int64{1, 1}))
	g.Expect(filepath.Glob(filepath.Join(src, "*", "mail-*"))).To(HaveLen(2))
	g.Expect(filepath.Join(src, "calm", "extra")).NotTo(BeAnExistingFile())
}

// TestADirectoryInThePlaceOfAFileIsExtra checks a restore that deletes what is extra where a directory took the place
// of a file, in a directory that changed during the backup: what the snapshot may lack stays.
func TestADirectoryInThePlaceOfAFileIsExtra(t *testing.T) {
	t.Parallel()
	g, src, r := NewWithT(t), t.TempDir(), initialized(t)
	file := filepath.Join(src, "file")
	g.Expect(os.WriteFile(file, []byte("text"), 0o644)).To(Succeed())
	d := kopia.WithLstat(kopia.WithPasses(kopia.Driver{}, 1), func(string) error {
		return os.WriteFile(filepath.Join(src, "new"), nil, 0o644)
	})
	s, err := enginetest.Open(t, d, r).Backup(t.Context(), repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "a", "b"), 0o755))).To(Succeed())
	res := restoredInPlace(t, r, s.ID, src)
	g.Expect([]int64{res.Deleted, res.ExtraKept}).To(Equal([]int64{3, 1}))
	g.Expect(os.ReadFile(file)).To(BeEquivalentTo("text"))
	g.Expect(filepath.Join(src, "new")).To(BeAnExistingFile())
}

// TestWhatMovesBesideBusyDirectoriesIsInTheSnapshot checks a mail that moves up into a directory that was read before,
// beside directories to which links are added all the time, and from which none goes. The file system is an ordinary
// one: the times of the directories of the mail tell that it moved.
func TestWhatMovesBesideBusyDirectoriesIsInTheSnapshot(t *testing.T) {
	t.Parallel()
	const directories = 70
	g, src := NewWithT(t), enginetest.InMemory(t)
	g.Expect(os.MkdirAll(filepath.Join(src, "box", "new"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(src, "box", "new", "mail"), []byte("text"), 0o644)).To(Succeed())
	for i := range directories {
		g.Expect(os.Mkdir(filepath.Join(src, fmt.Sprintf("cache-%02d", i)), 0o755)).To(Succeed())
	}
	var passes atomic.Int64
	d := kopia.WithLstat(kopia.Driver{}, func(name string) error {
		if name != "new" || passes.Add(1) > 1 {
			return nil
		}
		return os.Rename(filepath.Join(src, "box", "new", "mail"), filepath.Join(src, "box", "mail"))
	})
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() { addLinks(src, directories, stop) })
	s, err := enginetest.Open(t, d, initialized(t)).Backup(t.Context(), repository.Source{Name: "d", Dir: src},
		repository.BackupOptions{Parallel: 1})
	close(stop)
	writers.Wait()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]int64{s.Changed, s.Vanished}).To(Equal([]int64{0, 0}))
	g.Expect(s.Files).To(BeEquivalentTo(1), "the mail, after %d passes", passes.Load())
}

// addLinks adds links to directories until it is stopped.
func addLinks(src string, directories int, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(15 * time.Millisecond):
		}
		for i := range directories {
			_ = os.Symlink("x", filepath.Join(src, fmt.Sprintf("cache-%02d", i), fmt.Sprint(n)))
		}
	}
}

// TestADirectoryInThePlaceOfAFileOfABusyVolumeIsExtra is TestADirectoryInThePlaceOfAFileIsExtra for a volume of which
// more directories changed during the backup than a snapshot can name.
func TestADirectoryInThePlaceOfAFileOfABusyVolumeIsExtra(t *testing.T) {
	t.Parallel()
	for name, dirs := range map[string]int{"few": 90, "many": 110} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src, r := NewWithT(t), t.TempDir(), initialized(t)
			file := filepath.Join(src, "file")
			g.Expect(os.WriteFile(file, []byte("text"), 0o644)).To(Succeed())
			for i := range dirs {
				dir := filepath.Join(src, fmt.Sprint("dir", i))
				g.Expect(os.Mkdir(dir, 0o755)).To(Succeed())
				g.Expect(os.WriteFile(filepath.Join(dir, fmt.Sprint("of", i)), nil, 0o644)).To(Succeed())
			}
			d := kopia.WithLstat(kopia.WithPasses(kopia.Driver{}, 1), func(name string) error {
				if i, ok := strings.CutPrefix(name, "of"); ok {
					return os.WriteFile(filepath.Join(src, "dir"+i, "new"), nil, 0o644)
				}
				return nil
			})
			s, err := enginetest.Open(t, d, r).Backup(t.Context(), repository.Source{Name: "d", Dir: src},
				repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.Restless).To(BeEquivalentTo(dirs))
			g.Expect(errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "a", "b"), 0o755))).To(Succeed())
			restoredInPlace(t, r, s.ID, src)
			g.Expect(os.ReadFile(file)).To(BeEquivalentTo("text"))
			g.Expect(filepath.Join(src, "dir0", "new")).To(BeAnExistingFile())
		})
	}
}
