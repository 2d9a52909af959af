package enginetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// refused tests that a backup which the caller refuses leaves no snapshot, and that its data is not sent again.
func (c Config) refused(t *testing.T) {
	g, ctx, e, src := NewWithT(t), t.Context(), c.fresh(t), t.TempDir()
	Incompressible(t, src, 20, 100<<10)
	g.Expect(os.Symlink("x", filepath.Join(src, "link"))).To(Succeed())
	tags := map[string]string{"snapshot-uid": "u"}
	no := errors.New("not good enough")
	for _, source := range []repository.Source{
		{Name: "tree", Dir: src},
		{Name: "stream", Stream: strings.NewReader("data")},
	} {
		var asked repository.Snapshot
		s, err := e.Backup(ctx, source, repository.BackupOptions{Tags: tags, Accept: func(s repository.Snapshot) error {
			asked = s
			return no
		}})
		g.Expect(err).To(And(MatchError(repository.ErrRefused), MatchError(no)))
		g.Expect(s.ID + asked.ID).To(BeEmpty())
		g.Expect(s.Files).To(And(Equal(asked.Files), BeNumerically(">=", 1)), "the counts are returned all the same")
		g.Expect(e.List(ctx, "")).To(BeEmpty())
		g.Expect(e.FindByTags(ctx, tags)).To(BeEmpty())
	}
	s, err := e.Backup(ctx, repository.Source{Name: "tree", Dir: src},
		repository.BackupOptions{Tags: tags, Accept: func(s repository.Snapshot) error {
			tags["found"] = "late"
			g.Expect(s.Files).To(BeEquivalentTo(20))
			g.Expect(s.Symlinks).To(BeEquivalentTo(1))
			g.Expect(s.Dirs).To(BeEquivalentTo(2))
			return nil
		}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.BytesSent).To(BeNumerically("<", 1<<20), "the data of the refused backup is not sent again")
	l, err := e.List(ctx, "tree")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(l)).To(Equal([]string{s.ID}))
	g.Expect(l[0].Symlinks).To(BeEquivalentTo(1), "counts are kept")
	g.Expect(l[0].Tags).To(Equal(map[string]string{"snapshot-uid": "u", "found": "late"}))
}

// noDamage tests that a client with a wrong key changes nothing.
func (c Config) noDamage(t *testing.T) {
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	r := Repo(t, c.New(t))
	g.Expect(c.Driver.Init(ctx, r)).To(Succeed())
	Tree(t, src, 5)
	e := Open(t, c.Driver, r)
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	for _, password := range []string{"", "wrong", r.Password + "\n"} {
		other := r
		other.Password = password
		for range 2 {
			_, err := c.Driver.Open(ctx, other)
			g.Expect(err).To(MatchError(repository.ErrWrongPassword))
			g.Expect(c.Driver.Init(ctx, other)).
				To(Or(MatchError(repository.ErrWrongPassword), MatchError(repository.ErrAlreadyInitialized)))
		}
	}
	e = Open(t, c.Driver, r)
	_, err = e.Verify(ctx, s.ID, 100)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "the owner can still back up")
}

// readAgain tests that a file which is written once while it is read is consistent in the snapshot.
func (c Config) readAgain(t *testing.T) {
	g, e, src, out := NewWithT(t), c.fresh(t), InMemory(t), t.TempDir()
	file := filepath.Join(src, "busy")
	g.Expect(os.WriteFile(file, make([]byte, 8<<20), 0o644)).To(Succeed())
	once := func() repository.Snapshot {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		written := make(chan error, 1)
		go func() { written <- keepWriting(ctx, file) }()
		s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{
			ProgressEvery: 1, Progress: func(p repository.Progress) {
				if p.FilesDone > 0 { // it has been read once
					stop()
				}
			},
		})
		stop()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(<-written).NotTo(HaveOccurred())
		return s
	}
	s := once()
	for range 20 { // on a busy machine the writer can learn too late that the file has been read once
		if s.Changed > 0 {
			s = once()
		}
	}
	g.Expect(s.Changed).To(BeZero())
	_, err := e.Restore(t.Context(), s.ID, out, repository.RestoreOptions{Owners: os.Getuid() == 0})
	g.Expect(err).NotTo(HaveOccurred())
	got, err := os.ReadFile(filepath.Join(out, "busy"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(HaveLen(8 << 20))
	steps := 0
	for off := step; off < len(got); off += step {
		if before := got[off-step]; got[off] != before {
			g.Expect(got[off]).To(Equal(before-1), "only the rest of the file can be a round behind")
			steps++
		}
	}
	g.Expect(steps).To(BeNumerically("<=", 1), "the file is restored as it was at one moment")
}

const step = 64 << 10

// keepWriting writes the number of the round all over a file, round by round.
func keepWriting(ctx context.Context, file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for n := byte(1); ctx.Err() == nil; n++ {
		for off := int64(0); off < 8<<20 && ctx.Err() == nil; off += step {
			if _, err := f.WriteAt([]byte{n}, off); err != nil {
				return err
			}
		}
	}
	return nil
}
