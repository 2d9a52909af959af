package kopia_test

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

const killedFiles = 1500

// TestKilled kills a backup (SIGKILL) at several moments. Nothing that looks like a snapshot may be left, and
// the next run must work.
func TestKilled(t *testing.T) {
	if path := os.Getenv("ENGINE_CHILD"); path != "" {
		backUpUntilKilled(t, path, os.Getenv("ENGINE_SOURCE"))
		return
	}
	src := t.TempDir()
	incompressible(t, src, killedFiles, 100<<10)
	for _, after := range []int{0, 100, 700} {
		t.Run(fmt.Sprintf("after %d files", after), func(t *testing.T) {
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
	e, err := kopia.Driver{}.Open(t.Context(), r)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{
		CheckpointEvery: 150 * time.Millisecond, Parallel: 1, ProgressEvery: time.Millisecond,
		Progress: func(p repository.Progress) { fmt.Println(p.FilesDone) },
	})
	g.Expect(err).NotTo(HaveOccurred())
}

func incompressible(t testing.TB, dir string, n, size int) {
	t.Helper()
	g := NewWithT(t)
	rnd := rand.New(rand.NewSource(7))
	for i := range n {
		d := filepath.Join(dir, fmt.Sprint(i/100))
		g.Expect(os.MkdirAll(d, 0o755)).To(Succeed())
		b := make([]byte, size)
		rnd.Read(b)
		g.Expect(os.WriteFile(filepath.Join(d, fmt.Sprint(i)), b, 0o644)).To(Succeed())
	}
}
