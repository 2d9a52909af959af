package kopia_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// smallDisk is a repository on a disk of its own, whose clock is a calendar.
type smallDisk struct {
	*testing.T
	d    kopia.Driver
	c    *calendar
	r    repository.Repository
	src  string
	kept []string // the snapshots
}

func newSmallDisk(t *testing.T, size string) *smallDisk {
	t.Helper()
	s := &smallDisk{T: t, src: t.TempDir()}
	s.d, s.c = dated()
	s.r = enginetest.Repo(t, repository.Storage{Local: &repository.Local{
		Path: memory(t, "size="+size), Prefix: "x/kopia",
	}})
	NewWithT(t).Expect(s.d.Init(t.Context(), s.r)).To(Succeed())
	return s
}

// do opens the repository, and closes it again: an open engine can hold the room of a pack that is deleted.
func (s *smallDisk) do(f func(repository.Engine) error) error {
	s.Helper()
	e, err := s.d.Open(s.Context(), s.r)
	NewWithT(s).Expect(err).NotTo(HaveOccurred())
	defer func() { NewWithT(s).Expect(e.Close(s.Context())).To(Succeed()) }()
	return f(e)
}

// night changes files of 1 MiB and backs them up.
func (s *smallDisk) night(files ...int) error {
	s.Helper()
	for _, f := range files {
		b := make([]byte, 1<<20)
		_, _ = rand.Read(b)
		NewWithT(s).Expect(os.WriteFile(filepath.Join(s.src, fmt.Sprint(f)), b, 0o600)).To(Succeed())
	}
	defer s.c.pass(24 * time.Hour)
	return s.do(func(e repository.Engine) error {
		snap, err := e.Backup(s.Context(), repository.Source{Name: "d", Dir: s.src}, repository.BackupOptions{})
		if err == nil {
			s.kept = append(s.kept, snap.ID)
		}
		return err
	})
}

// keepLast removes all snapshots but the last one.
func (s *smallDisk) keepLast() {
	s.Helper()
	last := len(s.kept) - 1
	NewWithT(s).Expect(s.do(func(e repository.Engine) error {
		return e.Delete(s.Context(), s.kept[:last]...)
	})).To(Succeed())
	s.kept = s.kept[last:]
}

func (s *smallDisk) maintain(full bool) error {
	s.Helper()
	return s.do(func(e repository.Engine) error {
		return e.Maintain(s.Context(), repository.MaintainOptions{Full: full})
	})
}

// free returns the free room in MiB.
func (s *smallDisk) free() uint64 {
	s.Helper()
	var st unix.Statfs_t
	NewWithT(s).Expect(unix.Statfs(s.r.Storage.Local.Path, &st)).To(Succeed())
	return st.Bfree * uint64(st.Bsize) >> 20
}

// restores checks that the snapshots are whole.
func (s *smallDisk) restores() {
	s.Helper()
	for _, id := range s.kept {
		NewWithT(s).Expect(s.do(func(e repository.Engine) error {
			_, err := e.Restore(s.Context(), id, s.TempDir(), repository.RestoreOptions{})
			return err
		})).To(Succeed())
	}
}

func every(n, offset, of int) (files []int) {
	for f := offset; f < of; f += n {
		files = append(files, f)
	}
	return files
}

// TestAFullStorageGetsRoomAgain checks that a storage has room for backups some days after retention removed Snapshots,
// also if there is none to move what is left, and that maintenance does not fill it up. The keeper runs every day, and
// asks for a full maintenance once a week.
func TestAFullStorageGetsRoomAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ nights, days int }{
		"full":              {nights: 9, days: 4},
		"with room for one": {nights: 5, days: 4},
		"with more room":    {nights: 4, days: 15},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newSmallDisk(t, "120m")
			g.Expect(s.night(every(1, 0, 40)...)).To(Succeed())
			for n := range tc.nights {
				g.Expect(s.night(every(5, n%5, 40)...)).To(Succeed())
			}
			s.keepLast()
			before := s.free()
			for day := range tc.days {
				g.Expect(s.maintain(day%7 == 0)).To(Succeed())
				g.Expect(s.free()+1).To(BeNumerically(">=", before/2), "half of the room is for backups")
				s.c.pass(24 * time.Hour)
			}
			g.Expect(s.free()).To(BeNumerically(">", 70))
			s.restores()
		})
	}
}

// TestAFullStorageGetsRoomFromPacksThatAreMostlyGarbage checks what no deletion of whole packs can free.
func TestAFullStorageGetsRoomFromPacksThatAreMostlyGarbage(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newSmallDisk(t, "160m")
	g.Expect(s.night(every(1, 0, 80)...)).To(Succeed())
	g.Expect(s.night(slices.Concat(every(4, 0, 80), every(4, 1, 80), every(4, 2, 80))...)).To(Succeed())
	s.keepLast()
	for range 6 {
		g.Expect(s.maintain(false)).To(Succeed())
		g.Expect(s.free()).To(BeNumerically(">=", 9), "half of the room is for backups")
		s.c.pass(24 * time.Hour)
	}
	g.Expect(s.free()).To(BeNumerically(">", 70))
	s.restores()
}
