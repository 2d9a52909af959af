package mover_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// packs returns the files with directories and descriptions of the repository.
func (p *pod) packs() map[string]bool {
	p.t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia/q"),
		func(file string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				out[file] = true
			}
			return err
		})
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
	return out
}

// loseBut removes the other packs.
func (p *pod) loseBut(keep map[string]bool) {
	p.t.Helper()
	for file := range p.packs() {
		if !keep[file] {
			NewWithT(p.t).Expect(os.Remove(file)).To(Succeed())
		}
	}
}

// A storage loses the packs that describe a Snapshot. Its name is in the message until it is removed, and the other
// Snapshots are whole meanwhile.
func TestMaintenanceNamesTheSnapshotsThatAreLost(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	before := p.packs()
	code, r := p.run(t.Context(), backupTask("two", task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
	g.Expect(code).To(BeZero(), "%+v", r)
	p.loseBut(before)
	code, r = p.run(t.Context(), backupTask("three", task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(Equal([]string{"uid-one", "uid-one", "uid-three", "uid-three"}))

	work := keepTask()
	work.Keep[0].Maintain = task.MaintainFull
	_, r = p.run(t.Context(), work)
	failed := r.Components[0].Maintenance
	g.Expect(failed.Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged))
	g.Expect(failed.Error).To(ContainSubstring("1 Snapshot (two)"))

	work = keepTask("two")
	work.Keep[0].Maintain = task.MaintainFull
	code, r = p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(Equal([]string{"uid-one", "uid-one", "uid-three", "uid-three"}))
}

// A cluster is rebuilt while the pack is missing: what comes back later must not be failed for ever.
func TestAScanKeepsTheSnapshotsThatAreLost(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	before := p.packs()
	code, r := p.run(t.Context(), backupTask("two", task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
	g.Expect(code).To(BeZero(), "%+v", r)
	whole, _ := p.scanned(t)
	p.loseBut(before)
	found, _ := p.scanned(t)
	g.Expect(found).To(HaveLen(2))
	for name, c := range found["two"].Components {
		g.Expect(c.Phase).To(Equal(v1alpha1.SnapshotSucceeded), name)
		g.Expect(c.ID).To(Equal(whole["two"].Components[name].ID), name)
	}
}

// Retention removes a Snapshot while the storage does not find what describes it and another one. The storage finds
// both again when a removal is long forgotten else, and only the other one is back.
func TestARemovalOutlastsALoss(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	known, now := p.packs(), time.Now()
	p.mover.Now = func() time.Time { return now }
	backUp := func(name string) {
		code, r := p.run(t.Context(), backupTask(name, task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	keep := func(remove ...string) {
		_, r := p.run(t.Context(), keepTask(remove...))
		g.Expect(r.Components[0].Removal.Reason).To(BeEmpty(), "%+v", r)
	}
	backUp("two")
	backUp("three")
	var away []string
	for file := range p.packs() {
		if !known[file] {
			away = append(away, file)
			g.Expect(os.Rename(file, file+".away")).To(Succeed())
		}
	}
	backUp("four")
	keep("two")
	for range 2 {
		now = now.Add(100 * time.Hour)
		keep()
		g.Expect(p.files("removed")).To(Equal([]string{"uid-two.yaml"}))
	}
	for _, file := range away {
		g.Expect(os.Rename(file+".away", file)).To(Succeed())
	}
	now = now.Add(time.Hour)
	keep()
	g.Expect(p.held()).To(HaveLen(6))
	g.Expect(p.held()).NotTo(ContainElement("uid-two"))
	now = now.Add(71 * time.Hour)
	keep()
	g.Expect(p.files("removed")).To(HaveLen(1))
	now = now.Add(time.Hour)
	keep()
	g.Expect(p.files("removed")).To(BeEmpty())
}
