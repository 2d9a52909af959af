package enginetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

func (c Config) owner(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	r := Repo(t, c.New(t))
	g.Expect(c.Driver.Init(ctx, r)).To(Succeed())
	src := t.TempDir()
	Tree(t, src, 3)
	for _, other := range []string{"", "cairn@another-cluster"} {
		r := Repo(t, r.Storage)
		r.Owner = other
		e := Open(t, c.Driver, r)
		g.Expect(e.Maintain(ctx, repository.MaintainOptions{Full: true})).To(MatchError(repository.ErrNotOwner))
		_, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred(), "a client that backs up need not be the owner")
	}
	e := Open(t, c.Driver, r)
	g.Expect(e.Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed())
	l, err := e.List(ctx, "d")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(l).To(HaveLen(2), "the owner is not part of a source's identity")
}

// adopted lets one owner after another take the repository over. Connections that are open notice it.
func (c Config) adopted(t *testing.T) {
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	old := Repo(t, c.New(t))
	g.Expect(c.Driver.Init(ctx, old)).To(Succeed())
	first := Open(t, c.Driver, old)
	Tree(t, src, 3)
	s, err := first.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())

	nobody := Repo(t, old.Storage)
	nobody.Owner = ""
	g.Expect(Open(t, c.Driver, nobody).TakeOwnership(ctx)).NotTo(Succeed())
	reader := Repo(t, old.Storage)
	reader.Owner, reader.ReadOnly = "cairn@another-cluster", true
	g.Expect(Open(t, c.Driver, reader).TakeOwnership(ctx)).NotTo(Succeed())

	now := Repo(t, old.Storage)
	now.Owner = "cairn@another-cluster"
	second := Open(t, c.Driver, now)
	g.Expect(second.Owner(ctx)).To(Equal(old.Owner))
	for range 2 { // a second time it changes nothing
		g.Expect(second.TakeOwnership(ctx)).To(Succeed())
	}
	g.Expect(Open(t, c.Driver, old).Owner(ctx)).To(Equal(now.Owner))
	g.Expect(second.Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed())
	g.Expect(first.Maintain(ctx, repository.MaintainOptions{Full: true})).To(MatchError(repository.ErrNotOwner))
	g.Expect(first.TakeOwnership(ctx)).To(Succeed())
	g.Expect(first.Maintain(ctx, repository.MaintainOptions{})).To(Succeed())
	g.Expect(second.Maintain(ctx, repository.MaintainOptions{})).To(MatchError(repository.ErrNotOwner))
	g.Expect(second.Check(ctx, []string{s.ID})).To(BeEmpty())
}

func (c Config) concurrent(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	s := c.New(t)
	g.Expect(c.Driver.Init(ctx, Repo(t, s))).To(Succeed())
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for w := range 4 { // each with its own connection, like pods
		src, r := t.TempDir(), Repo(t, s)
		Tree(t, src, 50)
		wg.Go(func() {
			e, err := c.Driver.Open(ctx, r)
			if err != nil {
				errs <- err
				return
			}
			for i := range 5 {
				errs <- os.WriteFile(filepath.Join(src, "n"), fmt.Append(nil, w, i), 0o644)
				_, err := e.Backup(ctx, repository.Source{Name: fmt.Sprint("w", w), Dir: src},
					repository.BackupOptions{})
				errs <- err
			}
			errs <- e.Close(ctx)
		})
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	g.Expect(all).NotTo(HaveOccurred())
	e := Open(t, c.Driver, Repo(t, s))
	l, err := e.List(ctx, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(l).To(HaveLen(20))
	for _, x := range l {
		_, err := e.Verify(ctx, x.ID, 100)
		g.Expect(err).NotTo(HaveOccurred())
	}
}

func (c Config) readOnly(t *testing.T) {
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	r := Repo(t, c.New(t))
	r.CacheDir = t.TempDir()
	g.Expect(c.Driver.Init(ctx, r)).To(Succeed())
	Tree(t, src, 5)
	s, err := Open(t, c.Driver, r).Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())

	r.ReadOnly, r.CacheDir = true, ""
	e := Open(t, c.Driver, r)
	_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	Same(t, src, out)
	_, err = e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(e.Delete(ctx, s.ID)).NotTo(Succeed())
	g.Expect(e.Doubt(ctx, s.ID)).NotTo(Succeed())
	g.Expect(e.Maintain(ctx, repository.MaintainOptions{})).NotTo(Succeed())
	l, err := e.List(ctx, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(l)).To(Equal([]string{s.ID}))
}
