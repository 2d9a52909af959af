package kopia_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

const killedFiles, killedSize = 1500, 24 << 10

// stuckStore takes five sixths of the source's data and then blocks, so that a writer cannot finish before it is
// killed. It counts only packs of data: the longer a backup takes, the more other blobs its checkpoints leave.
type stuckStore struct {
	blob.Storage
	room atomic.Int64
}

func (s *stuckStore) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if id[0] == 'p' && s.room.Add(int64(-data.Length())) < 0 {
		select {}
	}
	return s.Storage.PutBlob(ctx, id, data, o)
}

// TestKilled kills a backup with SIGKILL at several moments. It must leave nothing that looks like a snapshot, and
// the next run must work.
func TestKilled(t *testing.T) {
	if path := os.Getenv("ENGINE_CHILD"); path != "" {
		backUpUntilKilled(t, path, os.Getenv("ENGINE_SOURCE"))
		return
	}
	t.Parallel()
	src := t.TempDir()
	enginetest.Incompressible(t, src, killedFiles, killedSize)
	for _, after := range []int{0, 100, 700} {
		t.Run(fmt.Sprintf("after %d files", after), func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			r := initialized(t)
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilled$")
			cmd.Env = append(os.Environ(), "ENGINE_CHILD="+r.Storage.Local.Path, "ENGINE_SOURCE="+src)
			out, err := cmd.StdoutPipe()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(cmd.Start()).To(Succeed())
			seen := -1
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if n, err := strconv.Atoi(lines.Text()); err == nil && n >= after {
					seen = n
					break
				}
			}
			g.Expect(cmd.Process.Kill()).To(Succeed())
			g.Expect(cmd.Wait()).To(MatchError(ContainSubstring("killed")), "it was still at work")
			g.Expect(seen).To(BeNumerically(">=", after))

			e := enginetest.Open(t, kopia.Driver{}, r)
			g.Expect(e.List(ctx, "")).To(BeEmpty())
			s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.Files).To(BeEquivalentTo(killedFiles))
			t.Logf("killed after %d files; the next run sent %d of %d MiB", seen, s.BytesSent>>20, s.Bytes>>20)
			_, err = e.Verify(ctx, s.ID, 100)
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func backUpUntilKilled(t *testing.T, path, src string) {
	g := NewWithT(t)
	r := enginetest.Repo(t, local(t))
	r.Storage.Local.Path = path
	stuck := func(st blob.Storage) blob.Storage {
		s := &stuckStore{Storage: st}
		s.room.Store(killedFiles * killedSize * 5 / 6)
		return s
	}
	e, err := kopia.Driver{Wrap: stuck}.Open(t.Context(), r)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{
		CheckpointEvery: 25 * time.Millisecond, Parallel: 1, ProgressEvery: time.Millisecond,
		Progress: func(p repository.Progress) { fmt.Println(p.FilesDone) },
	})
	g.Expect(err).NotTo(HaveOccurred())
}
