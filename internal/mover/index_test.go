package mover_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// takeAway removes files of the repository, whose paths in its directory late tells. back brings them back.
func (p *pod) takeAway(late func(rel string) bool) (back func()) {
	p.t.Helper()
	g, dir, files := NewWithT(p.t), filepath.Dir(filepath.Join(p.root, lostYAML)), map[string][]byte{}
	g.Expect(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if rel, _ := filepath.Rel(dir, path); !late(rel) {
			return nil
		}
		if files[path], err = os.ReadFile(path); err != nil {
			return err
		}
		return os.Remove(path)
	})).To(Succeed())
	g.Expect(files).NotTo(BeEmpty())
	return func() {
		p.t.Helper()
		for path, text := range files {
			g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
			g.Expect(os.WriteFile(path, text, 0o600)).To(Succeed())
		}
	}
}

// engineFiles returns the names of the engine's files.
func (p *pod) engineFiles() (out []string) {
	p.t.Helper()
	NewWithT(p.t).Expect(filepath.WalkDir(filepath.Join(filepath.Dir(filepath.Join(p.root, lostYAML)), "kopia"),
		func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out = append(out, path)
			}
			return err
		})).To(Succeed())
	return out
}

// withoutIndex tells the files that come last where a directory is copied back: the index, and what follows it.
func withoutIndex(rel string) bool {
	return strings.HasPrefix(rel, "kopia/x") || strings.HasPrefix(rel, "snapshots/")
}

// rsync copies the files of a directory before its directories, and programs for buckets copy in the order of names. So
// kopia's index comes last. What would be written before it is lost once it is there.
func TestNothingIsWrittenWhileTheIndexIsAway(t *testing.T) {
	t.Parallel()
	nameless := func(rel string) bool { return withoutIndex(rel) || rel == "repository.yaml" }
	for name, late := range map[string]func(rel string) bool{"rsync": withoutIndex, "a bucket": nameless} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t)
			c := p.lives()
			for _, s := range []string{"one", "two", "three", "four"} { // so that the index has several epochs
				code, r := p.run(t.Context(), backupTask(s, task.Component{Name: "pvc"}))
				g.Expect(code).To(BeZero(), "%+v", r)
				code, r = p.run(t.Context(), fullTask())
				g.Expect(code).To(BeZero(), "%+v", r)
				c.pass(25 * time.Hour)
			}
			held, back := p.held(), p.takeAway(late)
			before := p.engineFiles()
			made := repositoryTask() // again, in a cluster that knows nothing of the directory
			made.Repository.UID = "uid-again"
			tasks := []task.Task{mustExist(), repositoryTask(), made, backupTask("during", task.Component{Name: "pvc"})}
			for _, work := range tasks {
				_, r := p.run(t.Context(), work)
				reason, message := r.Reason, r.Message
				if len(r.Components) > 0 {
					reason, message = r.Components[0].Reason, r.Components[0].Error
				}
				g.Expect(reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "%+v", r)
				g.Expect(message).To(And(ContainSubstring("index"), ContainSubstring("Pause"),
					ContainSubstring("another directory")))
				g.Expect(initjob.Progress{State: observe.StateFailed, Reason: reason}.Disproves()).To(BeTrue())
			}
			g.Expect(p.engineFiles()).To(Equal(before), "nothing was written")
			back()
			code, r := p.run(t.Context(), mustExist())
			g.Expect(code).To(BeZero(), "%+v", r)
			g.Expect(p.held()).To(Equal(held))
			code, r = p.run(t.Context(), backupTask("after", task.Component{Name: "pvc"}))
			g.Expect(code).To(BeZero(), "%+v", r)
		})
	}
}

// Nobody has seen that a directory was gone, and the keeper comes before its index.
func TestAKeeperDoesNothingWhileTheIndexIsAway(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t)
	c, dir := p.lives(), filepath.Dir(filepath.Join(p.root, lostYAML))
	for _, s := range []string{"one", "two", "three"} {
		p.write("cairn/volumes/pvc/file", "content of "+s)
		code, r := p.run(t.Context(), backupTask(s, task.Component{Name: "pvc"}, task.Component{Name: "logs"}))
		g.Expect(code).To(BeZero(), "%+v", r)
		code, r = p.run(t.Context(), fullTask())
		g.Expect(code).To(BeZero(), "%+v", r)
		c.pass(7 * 24 * time.Hour)
	}
	code, r := p.run(t.Context(), keepTask("three"))
	g.Expect(code).To(BeZero(), "%+v", r)
	full, held, removed := fullTask(), p.held(), p.files("removed")
	for _, s := range p.snapshots() {
		full.Keep[0].Check = append(full.Keep[0].Check, task.Checked{
			Snapshot: "one", UID: "uid-one", Component: s.ID, ID: s.ID,
		})
	}
	back, there := p.takeAway(withoutIndex), packs(dir)
	for range 4 { // a removal is forgotten after three days
		_, r = p.run(t.Context(), full)
		g.Expect(r.Components[0].Reason).To(Equal(v1alpha1.ReasonRepositoryNotFound), "%+v", r)
		g.Expect(r.Components[0].Damaged).To(BeEmpty(), "nobody knows")
		c.pass(25 * time.Hour)
	}
	g.Expect(packs(dir)).To(Equal(there))
	g.Expect(p.files("removed")).To(Equal(removed))
	back()
	code, r = p.run(t.Context(), full)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(r.Components[0].Damaged).To(BeEmpty())
	g.Expect(p.held()).To(Equal(held))
}
