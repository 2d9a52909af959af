package mover_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

const metadataYAML = "cairn/storage/backups/metadata.yaml"

// unmount leaves an empty directory in the place of the storage. The returned function mounts the disk again.
func (p *pod) unmount() (mount func()) {
	p.t.Helper()
	g := NewWithT(p.t)
	at, disk := filepath.Join(p.root, "cairn/storage"), filepath.Join(p.root, "disk")
	g.Expect(os.Rename(at, disk)).To(Succeed())
	g.Expect(os.MkdirAll(at, 0o755)).To(Succeed())
	return func() {
		p.t.Helper()
		g.Expect(os.Remove(at)).To(Succeed(), "nothing was written")
		g.Expect(os.Rename(disk, at)).To(Succeed())
	}
}

// notMounted expects that an init has refused the storage, and that the storage looks itself.
func notMounted(t *testing.T, r *task.Result) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonMetadataNotFound), "%+v", r)
	g.Expect(r.Message).To(And(ContainSubstring("(subPath backups) holds no metadata.yaml: it is not mounted"),
		ContainSubstring("BackupStorage shop/disk")))
	g.Expect(initjob.BlamesStorage(r.Reason)).To(BeTrue())
}

// The init of a storage that was initialised before must not make a new one of the disk below a mount point. Only a
// repository of this cluster proves that nothing but the file is lost.
func TestAStorageIsNotInitialisedAgainOnAnotherDisk(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	again := storageTask()
	again.Storage.MustExist, again.Storage.Directories = true, []string{"shop/gone", "shop/web"}
	mount := p.unmount()
	code, r := p.run(t.Context(), again)
	g.Expect(code).To(Equal(task.ExitStorage))
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonMetadataNotFound), "%+v", r)
	g.Expect(r.Message).To(And(ContainSubstring("(subPath backups) no longer holds its metadata.yaml"),
		HaveSuffix("delete this one and its Repositories and make it again: first delete what uses it, and set its "+
			"deletionPolicy, and theirs, to Delete")))
	g.Expect(initjob.Progress{State: observe.StateFailed, Reason: r.Reason}.Disproves()).To(BeTrue())
	mount() // which expects that nothing was written
	code, r = p.run(t.Context(), again)
	g.Expect(code).To(BeZero(), "%+v", r)

	p.remove(metadataYAML)
	other := again
	other.Cluster = "cluster-2"
	_, r = p.run(t.Context(), other)
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonMetadataNotFound), "the repository is that of another cluster")
	code, r = p.run(t.Context(), again)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(r.Message).To(ContainSubstring("written again"))
	g.Expect(os.ReadFile(filepath.Join(p.root, metadataYAML))).To(ContainSubstring("uid-storage"))
}

// A directory that can't be read, such as an archived one, says nothing of the others.
func TestADirectoryThatCannotBeReadHidesNoProof(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), initialised(t)
	p.remove(metadataYAML)
	p.write("cairn/storage/backups/shop/odd/repository.yaml/x", "a directory in the place of the file")
	again := storageTask()
	again.Storage.MustExist, again.Storage.Directories = true, []string{"shop/odd", "shop/gone"}
	_, r := p.run(t.Context(), again)
	g.Expect(r.Message).To(ContainSubstring("is no regular file"), "nothing proves that it is another storage: %+v", r)
	again.Storage.Directories = append(again.Storage.Directories, "shop/web")
	code, r := p.run(t.Context(), again)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(r.Message).To(ContainSubstring("written again"))
}

// Backups to the disk below a mount point would succeed, and be out of reach once the right disk is mounted.
func TestADiskThatIsNotMountedGetsNoRepository(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), newPod(t)
	code, r := p.run(t.Context(), storageTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	mount := p.unmount()
	_, r = p.run(t.Context(), repositoryTask())
	notMounted(t, r)
	mount()
	code, r = p.run(t.Context(), repositoryTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.files("")).To(ContainElement("repository.yaml"))
}

// The first mover that meets a disk which is not mounted says what an init Job will say. One that meets a repository
// without its keys says that.
func TestAMoverTellsAnEmptyDiskFromALostKey(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	restore := restoreTask("gone")
	mount := p.unmount()
	for _, work := range []task.Task{backupTask("two"), restore} {
		_, r := p.run(t.Context(), work)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "%s: %+v", work.Kind, r)
		g.Expect(r.Message).To(And(ContainSubstring("(subPath backups)"), ContainSubstring("not mounted")))
	}
	mount()
	p.remove("cairn/storage/backups/shop/web/kopia/kopia.repository.f")
	for _, work := range []task.Task{backupTask("two"), restore} {
		_, r := p.run(t.Context(), work)
		g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged), "%s: %+v", work.Kind, r)
	}
}

// Only a repository in the storage proves that it is the right one.
func TestALostMetadataYAMLComesBackForANewRepository(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	p.remove(metadataYAML)
	other := repositoryTask()
	other.Repository.UID, other.Repository.Name, other.Repository.Directory = "uid-other", "other", "shop/other"
	_, r := p.run(t.Context(), other)
	notMounted(t, r)
	code, r := p.run(t.Context(), repositoryTask())
	g.Expect(code).To(BeZero(), "that one is there: %+v", r)
	quick := keepTask()
	quick.Keep[0].Maintain = task.MaintainQuick
	for _, work := range []task.Task{quick, other} {
		code, r = p.run(t.Context(), work)
		g.Expect(code).To(BeZero(), "%+v", r)
	}
}

// The answer of a wipe can be lost, and the BackupStorage be made again before the next try.
func TestAWipeIsRepeatedAfterItsBackupStorageWasMadeAgain(t *testing.T) {
	t.Parallel()
	wipe := func(uid types.UID, name string) task.Task {
		work := wipeTask()
		work.Storage.UID, work.Storage.Name = uid, name
		return work
	}
	for name, c := range map[string]struct {
		work  task.Task
		older bool // than the name in metadata.yaml
		done  bool
	}{
		"under its name":                      {wipe("uid-again", "disk"), false, true},
		"the same one":                        {wipe("uid-storage", "disk"), true, true},
		"another one":                         {wipe("uid-again", "other"), false, false},
		"an older metadata.yaml has no names": {wipe("uid-again", "disk"), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one")
			if c.older {
				text := string(must(os.ReadFile(filepath.Join(p.root, metadataYAML))))
				p.write(metadataYAML, strings.Replace(text, "name: disk\nnamespace: shop\n", "", 1))
				g.Expect(must(os.ReadFile(filepath.Join(p.root, metadataYAML)))).NotTo(ContainSubstring("disk"))
			}
			init := c.work
			init.Kind, init.Keep = task.KindInitStorage, nil
			before := must(os.ReadFile(filepath.Join(p.root, metadataYAML)))
			for _, work := range []task.Task{init, c.work} {
				code, r := p.run(t.Context(), work)
				g.Expect(code).To(BeZero(), "%+v", r)
			}
			g.Expect(os.ReadFile(filepath.Join(p.root, metadataYAML))).To(Equal(before))
			code, r := p.run(t.Context(), c.work)
			g.Expect(code == 0).To(Equal(c.done), "%+v", r)
			if !c.done {
				g.Expect(r.Components[0].Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound))
			}
		})
	}
}
