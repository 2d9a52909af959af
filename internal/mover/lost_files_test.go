package mover_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/task"
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
	g.Expect(p.expire()).To(HaveLen(5))

	code, r = p.run(t.Context(), backupTask("two"))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.log.String()).To(ContainSubstring("the storage has lost the key of the repository"))
	g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
	code, r = p.run(t.Context(), restoreTask(r.Components[0].ID))
	g.Expect(code).To(BeZero(), "%+v", r)

	code, r = p.run(t.Context(), fullTask())
	g.Expect(code).To(BeZero(), "%+v", r)
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
	mustExist := repositoryTask()
	mustExist.Repository.MustExist = true
	_, r = p.run(t.Context(), mustExist)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "what was wiped does not come back")
}

// With repository.yaml alone gone, backups would succeed while nothing is removed, maintained or checked any more.
func TestALostRepositoryYAMLIsWrittenAgain(t *testing.T) {
	t.Parallel()
	init := repositoryTask()
	init.Repository.MustExist = true
	for name, work := range map[string]task.Task{"a keeper": keepTask("one"), "an init": init} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one", "two")
			file := filepath.Join(p.root, "cairn/storage/backups/shop/web/repository.yaml")
			before, err := os.ReadFile(file)
			g.Expect(err).NotTo(HaveOccurred())
			old, err := layout.ParseRepositoryMetadata(before)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.Remove(file)).To(Succeed())
			code, r := p.run(t.Context(), backupTask("three"))
			g.Expect(code).To(BeZero(), "%+v", r)
			code, r = p.run(t.Context(), wipeTask())
			g.Expect(code).NotTo(BeZero())
			g.Expect(r.Components[0].Error).To(ContainSubstring("remove it by hand"), "a wipe proves nothing")

			code, r = p.run(t.Context(), work)
			g.Expect(code).To(BeZero(), "%+v", r)
			g.Expect(p.log.String()).To(ContainSubstring("wrote the lost repository.yaml again"))
			text, err := os.ReadFile(file)
			g.Expect(err).NotTo(HaveOccurred())
			again, err := layout.ParseRepositoryMetadata(text)
			g.Expect(err).NotTo(HaveOccurred())
			again.Created = old.Created
			g.Expect(again).To(Equal(old))
			code, r = p.run(t.Context(), keepTask("two"))
			g.Expect(code).To(BeZero(), "%+v", r)
		})
	}
}

// The engine knows which cluster has adopted a directory whose repository.yaml is lost.
func TestALostRepositoryYAMLGivesNoDirectoryBack(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	code, r := p.run(t.Context(), p.adoption())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(os.Remove(filepath.Join(p.root, "cairn/storage/backups/shop/web/repository.yaml"))).To(Succeed())
	init := repositoryTask()
	init.Repository.MustExist = true
	for _, work := range []task.Task{keepTask("one"), backupTask("two"), init} {
		_, r := p.run(t.Context(), work)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "%+v", r)
		g.Expect(r.Message).To(ContainSubstring("another cluster maintains"))
	}
	g.Expect(p.files("")).NotTo(ContainElement("repository.yaml"))
	code, r = p.run(t.Context(), adopting(keepTask()))
	g.Expect(code).To(BeZero(), "the owner's: %+v", r)
	g.Expect(p.consent("shop/web")).To(ContainSubstring("@cluster-2/uid-adopted/"))
}
