package kopia_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// whenRead is a storage that calls do before each read of a blob.
type whenRead struct {
	blob.Storage
	do func()
}

// GetBlob implements blob.Storage.
func (s whenRead) GetBlob(ctx context.Context, id blob.ID, off, length int64, out blob.OutputBuffer) error {
	s.do()
	return s.Storage.GetBlob(ctx, id, off, length, out)
}

// TestAFileThatIsReplacedBeforeItsDirectoryIsListed checks a program that saves its state by renaming a file, while the
// backup reads the directory of the previous Snapshot. btrfs does not list what was made after a directory was opened.
func TestAFileThatIsReplacedBeforeItsDirectoryIsListed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g, r, saves := NewWithT(t), initialized(t), 0
			src := looped(t, filepath.Join(t.TempDir(), "image"), kind)
			var mu sync.Mutex
			state := filepath.Join(src, "state")
			save := func() {
				mu.Lock()
				defer mu.Unlock()
				saves++
				_ = os.WriteFile(state+".new", fmt.Append(nil, saves), 0o644)
				_ = os.Rename(state+".new", state)
			}
			save()
			g.Expect(os.WriteFile(filepath.Join(src, "other"), []byte("x"), 0o644)).To(Succeed())
			var s repository.Snapshot
			for _, d := range []kopia.Driver{{}, kopia.WithBelow(kopia.Driver{}, func(st blob.Storage) blob.Storage {
				return whenRead{st, save}
			})} {
				var err error
				s, err = enginetest.Open(t, d, r).Backup(t.Context(), repository.Source{Name: "d", Dir: src},
					repository.BackupOptions{})
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(s.Files).To(BeEquivalentTo(2), "after %d saves", saves)
			g.Expect(restoredInPlace(t, r, s.ID, src).Deleted).To(BeZero(), "no file is extra")
			g.Expect(state).To(BeAnExistingFile())
		})
	}
}
