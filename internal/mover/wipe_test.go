package mover_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// inner returns a pod of another cluster, whose storage lies inside the directory of the repository of p. It holds one
// Snapshot with the returned ID. A person has copied it there: an init refuses the place.
func inner(t *testing.T, p *pod, prefix string) (*pod, string) {
	t.Helper()
	g, other := NewWithT(t), newPod(t)
	other.write("cairn/volumes/pvc/photo", "the only copy")
	id := ""
	for _, work := range []task.Task{storageTask(), repositoryTask(), backupTask("theirs")} {
		code, r := other.run(t.Context(), theirs(work, prefix))
		g.Expect(code).To(BeZero(), "%+v", r)
		if len(r.Components) > 0 {
			id = r.Components[0].ID
		}
	}
	storage := filepath.Join(other.root, "cairn/storage")
	g.Expect(os.CopyFS(filepath.Join(p.root, "cairn/storage"), os.DirFS(storage))).To(Succeed())
	g.Expect(os.RemoveAll(storage)).To(Succeed())
	g.Expect(os.Symlink(filepath.Join(p.root, "cairn/storage"), storage)).To(Succeed())
	return other, id
}

// theirs makes a task one of another cluster, for its storage below a prefix.
func theirs(t task.Task, prefix string) task.Task {
	t.Cluster, t.Storage.UID = "cluster-2", "uid-their-storage"
	t.Storage.Spec.Local = &v1alpha1.LocalStorage{SubPath: prefix}
	if t.Repository != nil {
		t.Repository.UID, t.Repository.Name, t.Repository.Directory = "uid-theirs", "photos", "photos"
	}
	return t
}

func wipeTask() task.Task {
	work := keepTask()
	work.Keep[0].Wipe = true
	return work
}

// What another cluster, another storage or a person put below the directory is not the repository's.
func TestAWipeLeavesWhatIsNotTheRepositorys(t *testing.T) {
	t.Parallel()
	for name, prefix := range map[string]string{
		"beside the parts": "backups/shop/web/other/cluster",
		"inside a part":    "backups/shop/web/snapshots/other",
		"inside the data":  "backups/shop/web/kopia/other",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one")
			other, id := inner(t, p, prefix)
			p.write("cairn/storage/backups/shop/web/notes/private name.txt", "a person's")

			code, wiped := p.run(t.Context(), wipeTask())
			g.Expect(code).To(BeZero(), "%+v", wiped)
			restore := theirs(restoreTask(id), prefix)
			g.Expect(os.MkdirAll(filepath.Join(other.root, "cairn/volumes/new"), 0o755)).To(Succeed())
			code, r := other.run(t.Context(), restore)
			g.Expect(code).To(BeZero(), "what they backed up can be restored: %+v", r)
			g.Expect(os.ReadFile(filepath.Join(other.root, "cairn/volumes/new/photo"))).
				To(BeEquivalentTo("the only copy"))
			g.Expect(p.files("notes")).To(Equal([]string{"private name.txt"}))
			g.Expect(p.files("")).NotTo(ContainElement("repository.yaml"), "the directory has no owner any more")

			k := wiped.Components[0]
			g.Expect(k.LeftFiles).To(BeNumerically(">", 5))
			inside, _ := strings.CutPrefix(prefix, "backups/")
			g.Expect(k.LeftPlaces).To(Equal([]string{inside, inside + "/photos"}))
			g.Expect(p.log.String()).To(ContainSubstring("left files that are not the repository's"))
			g.Expect(p.log.String()).NotTo(ContainSubstring("private name"))
			code, again := p.run(t.Context(), wipeTask())
			g.Expect(code).To(BeZero(), "a keeper that was killed before it reported: %+v", again)
			g.Expect(again.Components[0].Steps).To(Equal(k.Steps))
		})
	}
}

// A storage whose prefix is a part itself: nobody can tell whose the files in it are.
func TestAWipeOfAPartThatIsAnotherPlaceRemovesNothing(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.write("cairn/storage/backups/shop/web/kopia/metadata.yaml", "kind: StorageMetadata")
	before := p.files("kopia")
	_, r := p.run(t.Context(), wipeTask())
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), r.Message)
	g.Expect(r.Message).To(ContainSubstring("shop/web/kopia"))
	g.Expect(p.files("kopia")).To(Equal(before))
	g.Expect(p.files("snapshots")).To(Equal([]string{"one"}))
}

// A link says nothing about what becomes of the data behind it.
func TestAWipeOfALinkSaysWhatToDo(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	kopia := filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia")
	g.Expect(os.Rename(kopia, filepath.Join(p.root, "cairn/storage/big"))).To(Succeed())
	g.Expect(os.Symlink("../../../big", kopia)).To(Succeed())
	_, r := p.run(t.Context(), wipeTask())
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonInvalidPath), r.Message)
	g.Expect(r.Message).To(ContainSubstring("shop/web/kopia, such as a symbolic link"))
	g.Expect(r.Message).To(ContainSubstring("remove both by hand"))
	g.Expect(p.files("snapshots")).To(Equal([]string{"one"}), "nothing was removed")

	g.Expect(os.Remove(kopia)).To(Succeed())
	g.Expect(os.Rename(filepath.Join(p.root, "cairn/storage/big"), kopia)).To(Succeed())
	code, r := p.run(t.Context(), wipeTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("")).To(BeEmpty())
}

// Components can have the names of the files that mark a place, and a Snapshot that of a directory of others.
func TestNamesLikeThoseOfOthersAreTheRepositorysOwn(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t)
	for _, name := range []string{"metadata", "repository"} {
		p.write("cairn/volumes/"+name+"/file", name)
	}
	code, r := p.run(t.Context(), backupTask("one", task.Component{Name: "metadata"},
		task.Component{Name: "repository"}))
	g.Expect(code).To(BeZero(), "%+v", r)
	p.write("cairn/storage/backups/shop/web/snapshots/two/metadata.yaml", "a person's")
	p.write("cairn/storage/backups/shop/web/removed/deeper/file.yaml", "a person's")
	code, r = p.run(t.Context(), keepTask("one", "two"))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("snapshots/two")).To(Equal([]string{"metadata.yaml"}))
	g.Expect(p.files("snapshots/one")).To(BeEmpty())
	code, r = p.run(t.Context(), backupTask("one", task.Component{Name: "metadata"}))
	g.Expect(code).To(BeZero(), "%+v", r)
	p.remove("cairn/storage/backups/shop/web/snapshots/two")
	code, r = p.run(t.Context(), wipeTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(r.Components[0].LeftFiles).To(BeEquivalentTo(1))
	g.Expect(p.files("")).To(Equal([]string{"removed"}), "what a person put there stays")
	g.Expect(p.files("removed")).To(Equal([]string{"deeper"}))
}

// restic keeps its repository in directories of the same names, as Stash and KubeStash do with it.
var restic = []string{
	"config", "keys/0123abcd", "data/ab/abcd", "index/0123", "snapshots/0123abcd", "repository/v1/nightly/pvc/config",
	"repository/v1/nightly/pvc/snapshots/0123abcd",
}

func TestAWipeLeavesAResticRepository(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	for _, file := range restic {
		p.write("cairn/storage/backups/shop/web/"+file, "restic's")
	}
	for range 2 { // a keeper that was killed before it reported says the same
		code, r := p.run(t.Context(), wipeTask())
		g.Expect(code).To(BeZero(), "%+v", r)
		g.Expect(r.Components[0].LeftFiles).To(BeEquivalentTo(len(restic)))
		for _, file := range restic {
			g.Expect(filepath.Join(p.root, "cairn/storage/backups/shop/web", file)).To(BeAnExistingFile())
		}
		g.Expect(p.files("kopia")).To(BeEmpty())
		g.Expect(p.files("")).NotTo(ContainElement("repository.yaml"))
	}
}

func TestAnInitRefusesTheDirectoryOfAnotherProgram(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files   []string
		message string
	}{
		"restic":    {restic[:4], "shop/web holds a repository of restic's"},
		"Stash":     {restic[4:5], "shop/web holds files in snapshots that Cairn did not put there"},
		"KubeStash": {restic[5:], "shop/web holds files in repository that Cairn did not put there"},
		"a person":  {[]string{"config", "data/file", "index/file"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), newPod(t)
			for _, file := range c.files {
				p.write("cairn/storage/backups/shop/web/"+file, "theirs")
			}
			code, r := p.run(t.Context(), storageTask())
			g.Expect(code).To(BeZero(), "%+v", r)
			code, r = p.run(t.Context(), repositoryTask())
			if c.message == "" {
				g.Expect(code).To(BeZero(), "%+v", r)
				return
			}
			g.Expect(r.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), r.Message)
			g.Expect(r.Message).To(ContainSubstring(c.message))
			g.Expect(p.files("kopia")).To(BeEmpty())
		})
	}
}

// An empty place is no wiped one: the volume is not mounted, or the storage names another.
func TestAWipeOfAnEmptyPlaceIsNotDone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*pod){
		"a volume that is not mounted": func(p *pod) {
			p.remove("cairn/storage/backups")
		},
		"another storage of the cluster": func(p *pod) {
			p.remove("cairn/storage/backups/shop")
			text := filepath.Join(p.root, "cairn/storage/backups/metadata.yaml")
			b, err := os.ReadFile(text)
			NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
			p.write("cairn/storage/backups/metadata.yaml", strings.NewReplacer(
				"uid-storage", "uid-other", "name: disk", "name: other").Replace(string(b)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one")
			change(p)
			code, r := p.run(t.Context(), wipeTask())
			g.Expect(code).NotTo(BeZero(), "%+v", r)
			g.Expect(r.Components[0].Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound))
			g.Expect(r.Message).To(ContainSubstring("not mounted, or another one"))
		})
	}
}

// A keeper can be in the middle of a wipe: who adopts the directory then gets a destroyed repository.
func TestAnAdoptionWaitsForAWipe(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.mover.RenewLease = time.Second
	store, err := backend.Open(repository.Storage{Local: &repository.Local{
		Path: filepath.Join(p.root, "cairn/storage"), Prefix: "backups",
	}})
	g.Expect(err).NotTo(HaveOccurred())
	_, lease, err := backend.TakeLease(t.Context(), store, "shop/web",
		backend.LeaseOptions{Now: time.Now, Renew: p.mover.RenewLease})
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(p.root, "cairn/storage/backups/shop/web/repository.yaml")
	before, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())

	adoption := adopting(repositoryTask())
	adoption.Repository.Adopt = p.consent("shop/web")
	_, r := p.run(t.Context(), adoption)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonKeeperRunning), r.Message)
	g.Expect(os.ReadFile(file)).To(Equal(before), "the directory keeps its owner")
	code, r := p.run(t.Context(), repositoryTask())
	g.Expect(code).To(BeZero(), "an init that changes no owner waits for nobody: %+v", r)

	g.Expect(lease.Release(t.Context())).To(Succeed())
	code, r = p.run(t.Context(), adoption)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("keeper")).To(BeEmpty())
	_, r = p.run(t.Context(), wipeTask())
	g.Expect(r.Components[0].Reason).To(Equal(v1alpha1.ReasonDirectoryTaken))
	g.Expect(p.files("snapshots")).To(Equal([]string{"one"}))
}

// The owner can change in the middle of a wipe all the same, by hand or by an older version.
func TestAWipeStopsWhenTheOwnerChanges(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	store, err := backend.Open(repository.Storage{Local: &repository.Local{
		Path: filepath.Join(p.root, "cairn/storage"), Prefix: "backups",
	}})
	g.Expect(err).NotTo(HaveOccurred())
	asked, before := 0, p.files("kopia")
	_, err = backend.Wipe(t.Context(), store, "shop/web", func(context.Context) error {
		if asked++; asked > 1 {
			return backend.ErrNotOwner
		}
		return nil
	})
	g.Expect(err).To(MatchError(backend.ErrNotOwner))
	g.Expect(p.files("snapshots")).To(BeEmpty())
	g.Expect(p.files("kopia")).To(Equal(before), "the next part stays")
}

// TestAnInitRefusesAPlaceOfOthers: what removes one repository must not find another inside it.
func TestAnInitRefusesAPlaceOfOthers(t *testing.T) {
	t.Parallel()
	sub := func(t task.Task, prefix, directory string) task.Task {
		t.Storage.Spec.Local = &v1alpha1.LocalStorage{SubPath: prefix}
		if t.Repository != nil {
			t.Repository.UID, t.Repository.Name, t.Repository.Directory = "uid-new", "new", directory
		}
		return t
	}
	const inRepository, aroundRepository = "inside the repository in backups/shop/web of",
		"around the repository in backups/shop/web of"
	const directory, storage = v1alpha1.ReasonDirectoryTaken, v1alpha1.ReasonStorageTaken
	// The repository lies in backups/shop/web, in the storage backups.
	for name, c := range map[string]struct {
		prefix, directory string // of the new repository; without a directory of the new storage
		reason, message   string
	}{
		"inside the repository":      {"backups", "shop/web/x/y", directory, inRepository},
		"inside, of another storage": {"backups/shop/web/x", "y", directory, inRepository},
		"around the repository":      {"backups", "shop", directory, aroundRepository},
		"around the storage":         {"", "backups", directory, "around the storage in backups of"},
		"inside another storage":     {"", "backups/team/web", directory, "inside the storage in backups of"},
		"beside the repository":      {prefix: "backups", directory: "shop/web2"},
		"beside the storage":         {prefix: "other", directory: "shop/web"},
		"of a storage around it":     {prefix: "", directory: "team/web"},
		"of a storage inside it":     {prefix: "backups/team", directory: "web"},

		"a storage inside the repository":      {"backups/shop/web/x", "", storage, inRepository},
		"a storage in place of the repository": {"backups/shop/web", "", storage, inRepository},
		"a storage inside its data":            {"backups/shop/web/kopia", "", storage, inRepository},
		"a storage around the storage":         {prefix: ""},
		"a storage inside the storage":         {prefix: "backups/team"},
		"a storage beside the storage":         {prefix: "back"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), initialised(t)
			work := sub(repositoryTask(), c.prefix, c.directory)
			if c.directory == "" {
				work = sub(storageTask(), c.prefix, "")
			} else { // an init refuses some of these places by now
				p.write(filepath.Join("cairn/storage", c.prefix, "metadata.yaml"),
					string(must(os.ReadFile(filepath.Join(p.root, metadataYAML)))))
			}
			code, r := p.run(t.Context(), work)
			if c.reason == "" {
				g.Expect(code).To(BeZero(), "%+v", r)
				return
			}
			g.Expect(r.Reason).To(Equal(c.reason), r.Message)
			g.Expect(r.Message).To(ContainSubstring(c.message))
			g.Expect(filepath.Join(p.root, "cairn/storage", c.prefix, c.directory, "kopia/kopia.repository.f")).
				To(Or(Not(BeAnExistingFile()), ContainSubstring("shop/web/kopia")))
		})
	}
	t.Run("but not one that is there", func(t *testing.T) {
		t.Parallel()
		g, p := NewWithT(t), initialised(t)
		_, id := inner(t, p, "backups/shop/web/x")
		g.Expect(id).NotTo(BeEmpty())
		for _, work := range []task.Task{storageTask(), repositoryTask()} {
			for _, work := range []task.Task{work, theirs(work, "backups/shop/web/x")} {
				code, r := p.run(t.Context(), work)
				g.Expect(code).To(BeZero(), "%+v", r)
			}
		}
	})
	t.Run("nor beside files of other programs", func(t *testing.T) {
		t.Parallel()
		g, p := NewWithT(t), initialised(t)
		p.write("cairn/storage/repository.yaml", "apiVersion: v1\nentries: {}\n")
		p.write("cairn/storage/backups/new/metadata.yaml", "name: chart\n")
		code, r := p.run(t.Context(), sub(repositoryTask(), "backups", "new"))
		g.Expect(code).To(BeZero(), "%+v", r)
	})
}
