package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// A bucket, or the machine of a file server, is set back in place. The cluster does not know, and counts what is gone.
func TestAStorageThatGoesBackLosesNoMore(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "zero", "one")
	at, old := filepath.Join(p.root, "cairn/storage"), filepath.Join(p.root, "cairn/old")
	g.Expect(os.CopyFS(old, os.DirFS(at))).To(Succeed())
	ids := map[string]string{}
	backUp := func(name string) {
		p.write("cairn/volumes/pvc/file", "content of "+name)
		code, r := p.run(t.Context(), backupTask(name, task.Component{Name: "pvc"}))
		g.Expect(code).To(BeZero(), "%+v", r)
		ids[name] = r.Components[0].ID
	}
	backUp("two")
	backUp("three")
	g.Expect(os.RemoveAll(at)).To(Succeed())
	g.Expect(os.Rename(old, at)).To(Succeed())
	backUp("four")
	held := p.held()

	work := fullTask() // retention keeps the last three
	work.Keep[0].Remove = keepTask("one").Keep[0].Remove
	for _, s := range []string{"four", "three", "two"} {
		work.Keep[0].Witnesses = append(work.Keep[0].Witnesses, task.Witness{Snapshot: s, ID: ids[s]})
		work.Keep[0].Check = append(work.Keep[0].Check, task.Checked{
			Snapshot: s, UID: "uid", Component: "pvc", ID: ids[s],
		})
	}
	code, r := p.run(t.Context(), work)
	g.Expect(code).NotTo(BeZero())
	c := r.Components[0]
	for _, step := range []*task.Step{c.Removal, c.Maintenance} {
		g.Expect(step.Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "%+v", r)
		g.Expect(step.Error).To(And(ContainSubstring("lacks Snapshot three"), ContainSubstring("back in time")))
	}
	g.Expect(c.Check.Reason).To(BeEmpty())
	g.Expect(c.Damaged).To(Equal([]int{1, 2}))
	g.Expect(p.held()).To(Equal(held), "one is the newest with this data")
	g.Expect(p.files("removed")).To(BeEmpty())

	code, r = p.run(t.Context(), mustExist())
	g.Expect(code).To(BeZero(), "it is found again, and a check follows: %+v", r)
	work.Keep[0].Witnesses, work.Keep[0].Remove = work.Keep[0].Witnesses[:1], keepTask("zero").Keep[0].Remove
	code, r = p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "what is known to be damaged is no witness: %+v", r)
	g.Expect(p.held()).NotTo(ContainElement("uid-zero"))
	g.Expect(p.held()).To(ContainElement("uid-one"))
}

// etcd comes back from a copy of yesterday. Since then retention has let a Snapshot go, and a keeper has removed it.
func TestWhatAKeeperHasRemovedIsNoWitness(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t)
	var witnesses []task.Witness
	for _, name := range []string{"one", "zero"} {
		p.write("cairn/volumes/pvc/file", "content of "+name)
		code, r := p.run(t.Context(), backupTask(name, task.Component{Name: "pvc"}))
		g.Expect(code).To(BeZero(), "%+v", r)
		witnesses = append(witnesses, task.Witness{Snapshot: name, ID: r.Components[0].ID})
	}
	removal := keepTask("zero")
	removal.Keep[0].Remove[0].IDs = []string{witnesses[1].ID}
	code, r := p.run(t.Context(), removal)
	g.Expect(code).To(BeZero(), "%+v", r)
	work := keepTask()
	work.Keep[0].Maintain, work.Keep[0].Witnesses = task.MaintainQuick, witnesses
	code, r = p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "nothing is missing that should be there: %+v", r)

	work.Keep[0].Witnesses = append(witnesses, task.Witness{Snapshot: "two", ID: "0123"})
	code, r = p.run(t.Context(), work)
	g.Expect(code).NotTo(BeZero())
	g.Expect(r.Components[0].Maintenance.Error).To(ContainSubstring("lacks Snapshot two"))
}

// One pack with descriptions is lost. Nothing has gone back in time, and a maintenance knows which Snapshot it is.
func TestALostPackIsNoStorageThatHasGoneBack(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "zero", "one")
	both := []task.Component{{Name: "pvc"}, {Name: "logs"}}
	var witnesses []task.Witness
	var before map[string]bool
	for _, name := range []string{"two", "three"} {
		before = p.packs()
		code, r := p.run(t.Context(), backupTask(name, both...))
		g.Expect(code).To(BeZero(), "%+v", r)
		witnesses = append(witnesses, task.Witness{Snapshot: name, ID: r.Components[0].ID})
		if name == "two" {
			p.loseBut(before)
		}
	}
	work := fullTask()
	work.Keep[0].Remove, work.Keep[0].Witnesses = keepTask("one").Keep[0].Remove, witnesses
	_, r := p.run(t.Context(), work)
	c := r.Components[0]
	g.Expect(c.Removal.Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged), "retention has kept Snapshot two")
	g.Expect(c.Removal.Error).To(ContainSubstring("Snapshot two with them"))
	g.Expect(c.Maintenance.Reason).To(Equal(v1alpha1.ReasonRepositoryDamaged))
	g.Expect(c.Maintenance.Error).To(ContainSubstring("Lost with them"))
	g.Expect(p.held()).To(ContainElement("uid-one"))
}

// A part of a directory is away: the pack that describes Snapshot two, and the results of its components. The cluster
// keeps Snapshot two, and later all of it is back.
func TestAWitnessCountsWhereDescriptionsAreLost(t *testing.T) {
	t.Parallel()
	for _, how := range []task.Maintenance{task.MaintainQuick, task.MaintainFull} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "zero", "one")
			before := p.packs()
			code, r := p.run(t.Context(), backupTask("two", task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
			g.Expect(code).To(BeZero(), "%+v", r)
			results, aside := filepath.Join(p.root, "cairn/storage/backups/shop/web/snapshots/two"), t.TempDir()
			away := map[string]string{results: filepath.Join(aside, "results")}
			for file := range p.packs() {
				if !before[file] {
					away[file] = filepath.Join(aside, filepath.Base(file))
				}
			}
			for from, to := range away {
				g.Expect(os.Rename(from, to)).To(Succeed())
			}
			work := keepTask()
			work.Keep[0].Maintain = how
			work.Keep[0].Witnesses = []task.Witness{{Snapshot: "two", ID: r.Components[0].ID}}
			code, r = p.run(t.Context(), work)
			g.Expect(code).NotTo(BeZero(), "a Snapshot that is kept is missing")
			g.Expect(r.Components[0].Maintenance.Error).To(ContainSubstring("1 Snapshot (two)"))
			for from, to := range away {
				g.Expect(os.Rename(to, from)).To(Succeed())
			}
			g.Expect(p.held()).To(ContainElement("uid-two"), "it counts again once it is back")
		})
	}
}
