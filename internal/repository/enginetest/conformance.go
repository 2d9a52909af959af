// Package enginetest holds the tests that every driver must pass on every storage, and what such tests need: trees of
// files, their comparison, and real servers of storages. Its functions belong to one test; the tests of Run are
// parallel, each with its own repository.
package enginetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// owner is the maintenance owner of the repositories that the tests create.
const owner = "cairn@0f6c2f4e-cluster-uid"

const unknownID = "0123456789abcdef0123456789abcdef"

// Config is a driver and a source of places for repositories. Each call of New returns an unused place.
type Config struct {
	Driver repository.Driver
	New    func(t *testing.T) repository.Storage
}

// Repo returns settings for a place. They have no cache on disk, like those of movers.
func Repo(t testing.TB, s repository.Storage) repository.Repository {
	return repository.Repository{Storage: s, Password: "correct horse", Owner: owner, WorkDir: t.TempDir()}
}

// Open connects to a repository until the test ends.
func Open(t testing.TB, d repository.Driver, r repository.Repository) repository.Engine {
	t.Helper()
	e, err := d.Open(t.Context(), r)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	// The context of the test is cancelled before cleanups run.
	t.Cleanup(func() { _ = e.Close(context.WithoutCancel(t.Context())) })
	return e
}

// Run runs all tests in parallel. Each has its own repository.
func Run(t *testing.T, c Config) {
	for name, test := range map[string]func(*testing.T){
		"init and open report the state of the place":               c.initAndOpen,
		"a tree is restored, whole and in part":                     c.roundTrip,
		"a restored tree equals the original":                       c.fidelity,
		"existing files are kept, skipped or replaced as asked":     c.conflicts,
		"newer files are kept, others replaced":                     c.newer,
		"extra entries are deleted as asked":                        c.extra,
		"a restore says whether it touched its target":              c.touched,
		"what a backup left out is not extra":                       c.leftOut,
		"absolute patterns mean paths of a container":               c.names,
		"a restore writes what is included and not excluded":        c.selection,
		"an interrupted restore is continued":                       c.resumed,
		"a restored tree is compared with its snapshot":             c.compare,
		"a comparison leaves out what was kept":                     c.compareKept,
		"a snapshot is listed and read":                             c.browse,
		"two snapshots are compared":                                c.diff,
		"a stream is restored, and only new data is sent":           c.stream,
		"a stream that fails leaves no snapshot":                    c.failedStream,
		"a canceled stream leaves no snapshot":                      c.canceledStream,
		"a failing target of a stream is not taken for the storage": c.brokenRestore,
		"snapshots are found by their tags":                         c.tags,
		"a source that is missing is an error":                      c.missingSource,
		"a refused backup leaves no snapshot":                       c.refused,
		"a wrong key does no damage":                                c.noDamage,
		"a file that changed while it was read is read again":       c.readAgain,
		"a canceled backup leaves no snapshot":                      c.cancel,
		"a change that leaves size and time is backed up":           c.hiddenChanges,
		"an unchanged file is not read again":                       c.unchanged,
		"every file is read at the intervals asked for":             c.fullRead,
		"inodes are ignored as asked":                               c.ignoredInode,
		"only the owner maintains":                                  c.owner,
		"another owner takes over":                                  c.adopted,
		"a read-only connection restores and writes nothing":        c.readOnly,
		"several writers share a repository":                        c.concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// fresh creates and opens a new repository.
func (c Config) fresh(t *testing.T) repository.Engine {
	t.Helper()
	r := Repo(t, c.New(t))
	NewWithT(t).Expect(c.Driver.Init(t.Context(), r)).To(Succeed())
	return Open(t, c.Driver, r)
}

func (c Config) initAndOpen(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	r := Repo(t, c.New(t))
	for range 2 { // the first attempt must not create anything
		_, err := c.Driver.Open(ctx, r)
		g.Expect(err).To(MatchError(repository.ErrNotInitialized))
	}
	noOwner := r
	noOwner.Owner = ""
	g.Expect(c.Driver.Init(ctx, noOwner)).To(MatchError(ContainSubstring("owner")))
	g.Expect(c.Driver.Init(ctx, r)).To(Succeed())
	g.Expect(c.Driver.Init(ctx, r)).To(MatchError(repository.ErrAlreadyInitialized))
	wrong := r
	wrong.Password = "wrong"
	_, err := c.Driver.Open(ctx, wrong)
	g.Expect(err).To(MatchError(repository.ErrWrongPassword))
	g.Expect(err.Error()).NotTo(ContainSubstring(r.Password))

	e := Open(t, c.Driver, r)
	_, err = e.Restore(ctx, unknownID, t.TempDir(), repository.RestoreOptions{})
	g.Expect(err).To(MatchError(repository.ErrNotFound))
	_, err = e.Verify(ctx, unknownID, 100)
	g.Expect(err).To(MatchError(repository.ErrNotFound))
	g.Expect(e.Delete(ctx, unknownID)).To(Succeed(), "deleting an unknown snapshot is no error")
}

func (c Config) roundTrip(t *testing.T) {
	g, ctx, src := NewWithT(t), t.Context(), t.TempDir()
	r := Repo(t, c.New(t))
	r.CacheDir = t.TempDir()
	g.Expect(c.Driver.Init(ctx, r)).To(Succeed())
	e := Open(t, c.Driver, r)
	Tree(t, src, 300)
	first, err := e.Backup(ctx, repository.Source{Name: "data", Dir: src},
		repository.BackupOptions{Tags: map[string]string{"session": "one"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first.Files).To(BeEquivalentTo(300))
	g.Expect(first.BytesSent).To(BeNumerically(">", 1<<20))
	g.Expect(os.WriteFile(filepath.Join(src, "new"), []byte("new"), 0o644)).To(Succeed())
	var last repository.Progress
	second, err := e.Backup(ctx, repository.Source{Name: "data", Dir: src},
		repository.BackupOptions{Progress: func(p repository.Progress) { last = p }})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(second.Files).To(BeEquivalentTo(301))
	g.Expect(last.FilesUnchanged).To(BeEquivalentTo(300), "unchanged files are not read again")
	g.Expect(second.BytesSent).To(BeNumerically("<", first.BytesSent/10))

	l, err := e.List(ctx, "data")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(l)).To(Equal([]string{first.ID, second.ID}), "oldest first")
	g.Expect(l[0].Tags).To(Equal(map[string]string{"session": "one"}))
	g.Expect(l[1].Files).To(Equal(second.Files))
	g.Expect(e.List(ctx, "other")).To(BeEmpty())

	out, part := t.TempDir(), t.TempDir()
	res, err := e.Restore(ctx, second.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Files).To(BeEquivalentTo(301))
	Same(t, src, out)
	_, err = e.Restore(ctx, second.ID, part, repository.RestoreOptions{Path: "dir1"})
	g.Expect(err).NotTo(HaveOccurred())
	Same(t, filepath.Join(src, "dir1"), part)

	g.Expect(e.Delete(ctx, first.ID)).To(Succeed())
	g.Expect(e.Maintain(ctx, repository.MaintainOptions{})).To(Succeed())
	g.Expect(e.Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed())
	l, err = e.List(ctx, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(l)).To(Equal([]string{second.ID}))
	g.Expect(e.Check(ctx, []string{second.ID})).To(BeEmpty())
	g.Expect(e.Check(ctx, []string{unknownID, second.ID, first.ID})).
		To(Equal([]string{unknownID, first.ID}), "missing snapshots count as damaged")
	g.Expect(e.Doubt(ctx, unknownID)).To(Succeed())
	v, err := e.Verify(ctx, second.ID, 100)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v.FilesRead).To(BeNumerically(">=", 301))
}

func (c Config) conflicts(t *testing.T) {
	g, ctx, e, src, out := NewWithT(t), t.Context(), c.fresh(t), t.TempDir(), t.TempDir()
	Tree(t, src, 20)
	s, err := e.Backup(ctx, repository.Source{Name: "data", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Mkdir(filepath.Join(out, "dir0"), 0o755)).To(Succeed())
	there := filepath.Join(out, "dir0", "file3")
	g.Expect(os.WriteFile(there, []byte("mine"), 0o644)).To(Succeed())

	_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{})
	g.Expect(err).To(MatchError(repository.ErrTarget))
	g.Expect(os.ReadFile(there)).To(BeEquivalentTo("mine"))
	res, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{OnConflict: repository.ConflictSkip})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Skipped).To(BeEquivalentTo(20), "the first restore wrote the others")
	g.Expect(os.ReadFile(there)).To(BeEquivalentTo("mine"))
	_, err = e.Restore(ctx, s.ID, out, repository.RestoreOptions{OnConflict: repository.ConflictReplace})
	g.Expect(err).NotTo(HaveOccurred())
	Same(t, src, out)
	_, err = e.Restore(ctx, s.ID, filepath.Join(out, "missing"), repository.RestoreOptions{})
	g.Expect(err).To(MatchError(repository.ErrTarget))
}

func (c Config) tags(t *testing.T) {
	g, ctx, e, src := NewWithT(t), t.Context(), c.fresh(t), t.TempDir()
	Tree(t, src, 3)
	byComponent := map[string]string{}
	for _, component := range []string{"volume-a", "volume-b"} {
		s, err := e.Backup(ctx, repository.Source{Name: "ns/Deployment/web/" + component, Dir: src},
			repository.BackupOptions{Tags: map[string]string{"snapshot-uid": "u1", "component": component}})
		g.Expect(err).NotTo(HaveOccurred())
		byComponent[component] = s.ID
	}
	find := func(tags map[string]string) []string {
		t.Helper()
		l, err := e.FindByTags(ctx, tags)
		g.Expect(err).NotTo(HaveOccurred())
		return ids(l)
	}
	g.Expect(find(map[string]string{"snapshot-uid": "u1", "component": "volume-b"})).
		To(Equal([]string{byComponent["volume-b"]}))
	g.Expect(find(map[string]string{"snapshot-uid": "u1"})).To(HaveLen(2))
	g.Expect(find(map[string]string{"snapshot-uid": "u2", "component": "volume-b"})).To(BeEmpty())
	_, err := e.FindByTags(ctx, nil)
	g.Expect(err).To(HaveOccurred(), "a filter without tags must not match all snapshots")

	// An interrupted backup with the same tags must not count as complete.
	stop, cancel := context.WithCancelCause(ctx)
	_, err = e.Backup(
		stop, repository.Source{Name: "s", Stream: &cancelingReader{after: 2, cancel: func() { cancel(nil) }}},
		repository.BackupOptions{Tags: map[string]string{"snapshot-uid": "u3"}})
	g.Expect(err).To(MatchError(repository.ErrCanceled))
	g.Expect(find(map[string]string{"snapshot-uid": "u3"})).To(BeEmpty())
}

func (c Config) missingSource(t *testing.T) {
	g, ctx, e := NewWithT(t), t.Context(), c.fresh(t)
	file := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(file, nil, 0o644)).To(Succeed())
	for _, dir := range []string{"/does/not/exist", file} {
		_, err := e.Backup(ctx, repository.Source{Name: "x", Dir: dir}, repository.BackupOptions{})
		g.Expect(err).To(MatchError(repository.ErrSource), dir)
	}
	_, err := e.Backup(ctx, repository.Source{Name: "x"}, repository.BackupOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(e.List(ctx, "")).To(BeEmpty())
}

func (c Config) cancel(t *testing.T) {
	g, e, src := NewWithT(t), c.fresh(t), t.TempDir()
	Incompressible(t, src, 400, 100<<10)
	end := Endless(t, src)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := e.Backup(ctx, repository.Source{Name: "t", Dir: src}, repository.BackupOptions{
		Parallel: 1, ProgressEvery: 1,
		Progress: func(p repository.Progress) {
			if p.FilesDone > 0 {
				cancel()
			}
		},
	})
	g.Expect(err).To(MatchError(repository.ErrCanceled))
	g.Expect(e.List(t.Context(), "")).To(BeEmpty())
	end()
	s, err := e.Backup(t.Context(), repository.Source{Name: "t", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Files).To(BeEquivalentTo(400))
}

func ids(l []repository.Snapshot) []string {
	out := make([]string, len(l))
	for i, s := range l {
		out[i] = s.ID
	}
	return out
}
