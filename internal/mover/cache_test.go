package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// A cache lies where it was requested, one for each repository, and only on request.
func TestACacheLiesInTheScratchDirectory(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	p.write("cairn/volumes/pvc/file", "content")
	cache := filepath.Join(p.root, "scratch", "cache", "uid-repository")
	do := func(work task.Task, flags mover.Flags) *task.Result {
		text, err := task.Encode(work)
		g.Expect(err).NotTo(HaveOccurred())
		p.write("cairn/task/task.json", text)
		p.mover.Run(t.Context(), work.Kind, flags)
		message, err := os.ReadFile(p.mover.TerminationPath)
		g.Expect(err).NotTo(HaveOccurred())
		result, err := task.DecodeResult(string(message))
		g.Expect(err).NotTo(HaveOccurred())
		return result
	}
	g.Expect(do(backupTask("snap-1"), mover.Flags{ScratchDir: "/scratch"}).Outcome).To(Equal(task.OutcomeSucceeded))
	g.Expect(filepath.Join(p.root, "scratch")).NotTo(BeADirectory())

	r := do(backupTask("snap-2"), mover.Flags{Cache: true, ScratchDir: "/scratch"})
	g.Expect(r.Outcome).To(Equal(task.OutcomeSucceeded), "%+v", r)
	g.Expect(os.ReadDir(cache)).NotTo(BeEmpty())
	info, err := os.Stat(cache)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o700)))

	p.write("cairn/volumes/new/.keep", "")
	g.Expect(os.Remove(filepath.Join(p.root, "cairn/volumes/new/.keep"))).To(Succeed())
	r = do(restoreTask(r.Components[0].ID), mover.Flags{Cache: true, ScratchDir: "/scratch"})
	g.Expect(r.Outcome).To(Equal(task.OutcomeSucceeded), "%+v", r)
	g.Expect(os.ReadFile(filepath.Join(p.root, "cairn/volumes/new/file"))).To(BeEquivalentTo("content"))

	p.write("taken", "a file")
	for _, work := range []task.Task{backupTask("snap-3"), restoreTask("k1")} {
		r = do(work, mover.Flags{Cache: true, ScratchDir: "/taken"})
		g.Expect(r.Components[0].Reason).To(Equal(v1alpha1.ReasonInvalidTask))
		g.Expect(r.Components[0].Error).To(Equal("can't create a cache in /taken: not a directory: " +
			"set scratchDir to a directory that the mover is allowed to write to, or enableCache to false"))
	}
}
