package mover_test

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// fullTask returns the full maintenance of a repository.
func fullTask() task.Task {
	work := keepTask()
	work.Keep[0].Maintain = task.MaintainFull
	return work
}

// expire does what a rule "delete after 90 days" does to files that nothing writes again. It returns their names.
func (p *pod) expire() (names []string) {
	p.t.Helper()
	NewWithT(p.t).Expect(filepath.WalkDir(filepath.Join(p.root, "cairn/storage"),
		func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil && time.Since(info.ModTime()) > 90*24*time.Hour {
				names = append(names, d.Name())
				return os.Remove(path)
			}
			return err
		})).To(Succeed())
	return names
}

// grow makes the small files that describe storage and repository 91 days old.
func (p *pod) grow() {
	p.t.Helper()
	g, longAgo, dir := NewWithT(p.t), time.Now().Add(-91*24*time.Hour), filepath.Join(p.root, "cairn/storage/backups")
	for _, name := range []string{
		"metadata.yaml", "shop/web/repository.yaml", "shop/web/kopia/kopia.repository.f",
		"shop/web/kopia/kopia.blobcfg.f", "shop/web/kopia/.shards",
	} {
		g.Expect(os.Chtimes(filepath.Join(dir, name), longAgo, longAgo)).To(Succeed())
	}
}

// The oldest files are those that a rule such as "delete after 90 days" takes first. All data is newer.
func TestARepositoryOutlivesARuleThatExpiresOldFiles(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.grow()
	code, r := p.run(t.Context(), fullTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	key, err := os.ReadFile(filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia/kopia.repository.f"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.expire()).To(HaveLen(5), "not the copies")

	code, r = p.run(t.Context(), backupTask("two"))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.log.String()).To(ContainSubstring("the storage has lost the key of the repository"))
	g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
	code, r = p.run(t.Context(), restoreTask(r.Components[0].ID))
	g.Expect(code).To(BeZero(), "%+v", r)

	_, r = p.run(t.Context(), fullTask())
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "a keeper proves nothing")
	for _, work := range []task.Task{mustExist(), fullTask()} {
		code, r = p.run(t.Context(), work)
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	g.Expect(p.log.String()).To(ContainSubstring("put the key of the repository back"))
	storage := filepath.Join(p.root, "cairn/storage/backups")
	g.Expect(os.ReadFile(filepath.Join(storage, "shop/web/kopia/kopia.repository.f"))).To(Equal(key))
	text, err := os.ReadFile(filepath.Join(storage, "metadata.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(layout.ParseStorageMetadata(text)).To(HaveField("UID", string(storageTask().Storage.UID)))
	text, err = os.ReadFile(filepath.Join(storage, "shop/web/repository.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(layout.ParseRepositoryMetadata(text)).To(HaveField("KeyID", repositoryTask().Repository.KeyID))

	code, r = p.run(t.Context(), wipeTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("")).To(BeEmpty())
	_, r = p.run(t.Context(), mustExist())
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "what was wiped does not come back")
}

const lostYAML = "cairn/storage/backups/shop/web/repository.yaml"

// mustExist is an init of a Repository that was initialised before.
func mustExist() task.Task {
	init := repositoryTask()
	init.Repository.MustExist = true
	return init
}

// With repository.yaml alone gone, backups would succeed while nothing is removed, maintained or checked any more.
func TestALostRepositoryYAMLIsWrittenAgain(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	file := filepath.Join(p.root, lostYAML)
	before, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Remove(file)).To(Succeed())
	code, r := p.run(t.Context(), backupTask("three"))
	g.Expect(code).To(BeZero(), "%+v", r)
	_, r = p.run(t.Context(), wipeTask())
	g.Expect(r.Components[0].Error).To(ContainSubstring("remove it by hand"), "a wipe proves nothing")
	_, r = p.run(t.Context(), keepTask("one"))
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "a keeper does not either")

	code, r = p.run(t.Context(), mustExist())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.log.String()).To(ContainSubstring("wrote the lost repository.yaml again"))
	g.Expect(os.ReadFile(file)).To(Equal(before))
	code, r = p.run(t.Context(), keepTask("two"))
	g.Expect(code).To(BeZero(), "%+v", r)
}

// Without its copy nobody knows whose a directory is. It can be one that somebody is copying back.
func TestOnlyTheCopyBringsRepositoryYAMLBack(t *testing.T) {
	t.Parallel()
	for name, index := range map[string]bool{"whole": true, "without an index": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one")
			dir := filepath.Dir(filepath.Join(p.root, lostYAML))
			g.Expect(os.Remove(filepath.Join(p.root, lostYAML))).To(Succeed())
			g.Expect(os.Remove(filepath.Join(dir, "kopia/kopia.owner.copy"))).To(Succeed())
			if !index {
				g.Expect(os.RemoveAll(filepath.Join(dir, "kopia/x"))).To(Succeed())
			}
			for _, work := range []task.Task{keepTask(), fullTask()} {
				_, r := p.run(t.Context(), work)
				g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "%+v", r)
			}
			want := v1alpha1.ReasonRepositoryNotFound
			if index {
				want = v1alpha1.ReasonRepositoryInitializationFailed // which disproves nothing
			}
			_, r := p.run(t.Context(), mustExist())
			g.Expect(r.Reason).To(Equal(want), "%+v", r)
			g.Expect(initjob.Progress{State: observe.StateFailed, Reason: r.Reason}.Disproves()).To(Equal(!index))
			g.Expect(p.files("")).NotTo(ContainElement("repository.yaml"))
		})
	}
}

// A full maintenance makes a copy that is missing, old, or another.
func TestAFullMaintenanceKeepsTheCopyOfRepositoryYAML(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t)
	yaml, err := os.ReadFile(filepath.Join(p.root, lostYAML))
	g.Expect(err).NotTo(HaveOccurred())
	spare := filepath.Join(filepath.Dir(filepath.Join(p.root, lostYAML)), "kopia/kopia.owner.copy")
	g.Expect(os.ReadFile(spare)).To(Equal(yaml), "the init's")
	for name, harm := range map[string]func() error{
		"missing": func() error { return os.Remove(spare) },
		"another": func() error { return os.WriteFile(spare, []byte("x"), 0o600) },
		"old": func() error {
			at := time.Now().Add(-30 * 24 * time.Hour)
			return os.Chtimes(spare, at, at)
		},
	} {
		g.Expect(harm()).To(Succeed())
		code, r := p.run(t.Context(), fullTask())
		g.Expect(code).To(BeZero(), "%+v", r)
		g.Expect(os.ReadFile(spare)).To(Equal(yaml), name)
		info, err := os.Stat(spare)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(time.Since(info.ModTime())).To(BeNumerically("<", time.Hour))
	}
}

// A torn copy proves nothing, and nobody writes over it.
func TestATornCopyOfRepositoryYAML(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	g.Expect(os.Remove(filepath.Join(p.root, lostYAML))).To(Succeed())
	p.write("cairn/storage/backups/shop/web/kopia/kopia.owner.copy", "kind: Repos")
	code, r := p.run(t.Context(), backupTask("two"))
	g.Expect(code).To(BeZero(), "%+v", r)
	_, r = p.run(t.Context(), mustExist())
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged), "%+v", r)
	g.Expect(r.Message).To(ContainSubstring("Bring repository.yaml back"))
}

// renamed returns a task of another Repository of this cluster, which has adopted the directory.
func renamed(t task.Task) task.Task {
	if t.Repository != nil {
		t.Repository.UID, t.Repository.Name = "uid-front", "shop-front"
	}
	for i := range t.Keep {
		t.Keep[i].Repository.UID, t.Keep[i].Repository.Name = "uid-front", "shop-front"
	}
	return t
}

// The copy knows who has adopted a directory whose repository.yaml is lost, also within a cluster.
func TestALostRepositoryYAMLGivesNoDirectoryBack(t *testing.T) {
	t.Parallel()
	for name, owners := range map[string]func(*pod, task.Task) task.Task{
		"another cluster":    func(_ *pod, t task.Task) task.Task { return adopting(t) },
		"another Repository": func(_ *pod, t task.Task) task.Task { return renamed(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one")
			adoption := owners(p, repositoryTask())
			adoption.Repository.Adopt = p.consent("shop/web")
			code, r := p.run(t.Context(), adoption)
			g.Expect(code).To(BeZero(), "%+v", r)
			g.Expect(os.Remove(filepath.Join(p.root, lostYAML))).To(Succeed())
			for _, work := range []task.Task{backupTask("two"), mustExist(), repositoryTask()} {
				_, r := p.run(t.Context(), work)
				g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "%+v", r)
			}
			for _, work := range []task.Task{keepTask("one"), wipeTask()} {
				_, r = p.run(t.Context(), work)
				g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "%+v", r)
			}
			g.Expect(p.files("")).NotTo(ContainElement("repository.yaml"))
			for _, work := range []task.Task{backupTask("two"), mustExist(), keepTask()} {
				code, r = p.run(t.Context(), owners(p, work))
				g.Expect(code).To(BeZero(), "the owner's: %+v", r)
			}
			_, r = p.run(t.Context(), wipeTask())
			g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "the loser wipes nothing")
			g.Expect(p.held()).NotTo(BeEmpty())
		})
	}
}

// A Repository that was made again under its name, for another target, does not begin with the backups of the old one.
func TestARepositoryOfAnotherTargetGetsNoDirectoryByItsName(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		g, p := NewWithT(t), backedUp(t, "one")
		if lost {
			g.Expect(os.Remove(filepath.Join(p.root, lostYAML))).To(Succeed())
		}
		again := repositoryTask()
		again.Repository.UID = "uid-again"
		again.Repository.AppRef.Name = "database"
		_, r := p.run(t.Context(), again)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "repository.yaml lost: %v: %+v", lost, r)
		again.Repository.AppRef = repositoryTask().Repository.AppRef
		code, r := p.run(t.Context(), again)
		g.Expect(code).To(BeZero(), "%+v", r)
	}
}

// packs returns how many packs a repository has.
func packs(dir string) (n int) {
	_ = filepath.WalkDir(filepath.Join(dir, "kopia"), func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(filepath.Join(dir, "kopia"), path)
		if err == nil && !d.IsDir() && (strings.HasPrefix(rel, "p/") || strings.HasPrefix(rel, "q/")) {
			n++
		}
		return nil
	})
	return n
}

// A lost directory is copied back, with the times of its files, while keepers run. Once Cairn has seen that it was
// gone, a keeper only checks before the check finds what the cluster knows.
func TestADirectoryThatIsCopiedBackKeepsItsPacks(t *testing.T) {
	t.Parallel()
	index := func(rel string) bool { return strings.HasPrefix(rel, "kopia/x") }
	for name, late := range map[string]func(rel string, first bool) bool{
		"with a part of the index": func(rel string, first bool) bool {
			return index(rel) && !first || strings.HasPrefix(rel, "snapshots/")
		},
		"without repository.yaml": func(rel string, first bool) bool {
			return index(rel) && !first || strings.HasPrefix(rel, "snapshots/") || rel == "repository.yaml"
		},
		"without packs": func(rel string, _ bool) bool { return strings.HasPrefix(rel, "kopia/p") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t)
			dir := filepath.Dir(filepath.Join(p.root, lostYAML))
			first := map[string]bool{}
			_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
				first[path] = true
				return nil
			})
			code, r := p.run(t.Context(), backupTask("one", task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
			g.Expect(code).To(BeZero(), "%+v", r)
			check := keepTask()
			for _, s := range p.snapshots() {
				check.Keep[0].Check = append(check.Keep[0].Check, task.Checked{
					Snapshot: "one", UID: "uid-one", Component: s.ID, ID: s.ID,
				})
			}
			c, all, longAgo, came := p.lives(), packs(dir), time.Now().Add(-91*24*time.Hour), map[string][]byte{}
			g.Expect(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				rel, _ := filepath.Rel(dir, path)
				if !late(rel, first[path]) {
					return os.Chtimes(path, longAgo, longAgo)
				}
				came[path], err = os.ReadFile(path)
				return cmp.Or(err, os.Remove(path))
			})).To(Succeed())
			there := packs(dir)

			_, r = p.run(t.Context(), mustExist())
			g.Expect(r.Reason).To(Or(Equal(v1alpha1.ReasonSucceeded), BeEmpty()), "%+v", r)
			for range 3 {
				code, r = p.run(t.Context(), check)
				g.Expect(code).To(BeZero(), "%+v", r)
				g.Expect(r.Components[0].Damaged).NotTo(BeEmpty())
				g.Expect(r.Components[0].Maintenance).To(BeNil())
				c.pass(25 * time.Hour)
			}
			g.Expect(packs(dir)).To(BeNumerically(">=", there))
			for path, text := range came {
				g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
				g.Expect(os.WriteFile(path, text, 0o600)).To(Succeed())
			}
			g.Expect(packs(dir)).To(BeNumerically(">=", all))
			for _, work := range []task.Task{check, fullTask(), check} {
				code, r = p.run(t.Context(), work)
				g.Expect(code).To(BeZero(), "%+v", r)
				g.Expect(r.Components[0].Damaged).To(BeEmpty())
			}
		})
	}
}
