package kopia_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

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
