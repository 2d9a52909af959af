package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// swap replaces a directory by a symbolic link, as a workload that shares the volume can do.
func (p *pod) swap(name, to string) func() {
	return func() {
		dir := filepath.Join(p.root, name)
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return // it was swapped before
		}
		g := NewWithT(p.t)
		g.Expect(os.Rename(dir, dir+"-aside")).To(Succeed())
		g.Expect(os.Symlink(filepath.Join(p.root, to), dir)).To(Succeed())
	}
}

func TestAPathThatBecomesALinkBringsNoCredentialIntoABackup(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/data/f", "1")
	p.reports.told = p.swap("cairn/volumes/pvc/data", "cairn/encryption") // after the path was checked
	code, result := p.run(t.Context(), backupTask("snap-1", task.Component{Name: "pvc", Path: "data"}))
	p.reports.told = nil
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(os.Mkdir(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
	code, result = p.run(t.Context(), restoreTask(result.Components[0].ID))
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(os.ReadFile(filepath.Join(p.root, "cairn/volumes/new/f"))).To(Equal([]byte("1")))
	g.Expect(filepath.Join(p.root, "cairn/volumes/new/password")).NotTo(BeAnExistingFile())
}

func TestAPathThatBecomesALinkTakesNoRestoreOutOfTheVolume(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/f", "1")
	_, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(os.Mkdir(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
	p.write("elsewhere/keep", "1")
	p.reports.told = p.swap("cairn/volumes/new/data", "elsewhere")
	restore := restoreTask(result.Components[0].ID)
	restore.Components[0].Path = "data"
	code, result := p.run(t.Context(), restore)
	p.reports.told = nil
	g.Expect(code).To(BeZero(), result.Message)
	g.Expect(os.ReadFile(filepath.Join(p.root, "cairn/volumes/new/data-aside/f"))).To(Equal([]byte("1")))
	g.Expect(filepath.Join(p.root, "elsewhere/f")).NotTo(BeAnExistingFile())
}

func TestALinkThatStaysInTheVolumeIsFollowed(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/releases/2/f", "1")
	p.write("cairn/volumes/pvc/file", "1")
	g.Expect(os.Symlink("releases/2", filepath.Join(p.root, "cairn/volumes/pvc/current"))).To(Succeed())
	g.Expect(os.Symlink("../..", filepath.Join(p.root, "cairn/volumes/pvc/up"))).To(Succeed())
	for path, reason := range map[string]string{
		"current": "", "/current/": "", "file": v1alpha1.ReasonUnreadable,
		"up": v1alpha1.ReasonInvalidPath, "up/encryption": v1alpha1.ReasonInvalidPath,
		"releases/3": v1alpha1.ReasonPathNotFound,
	} {
		_, result := p.run(t.Context(), backupTask("snap-"+reason, task.Component{Name: "pvc", Path: path}))
		g.Expect(result.Components[0].Reason).To(Equal(reason), path)
	}
	_, result := p.run(t.Context(), backupTask("snap-above", task.Component{Name: "pvc", Path: "../current"}))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonInvalidTask), "the manager writes no such path")
}

// TestAVolumeWithARestThatARestoreLeftIsEmpty checks that nothing but what an unfinished restore left is no data.
func TestAVolumeWithARestThatARestoreLeftIsEmpty(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := initialised(t)
	for _, name := range []string{repository.RestoreMark, repository.NewUnfinishedName()} {
		p.write("cairn/volumes/pvc/"+name, "1")
	}
	_, result := p.run(t.Context(), backupTask("snap-1"))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonEmpty), result.Message)
}
