package mover_test

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// TestNothingIsRemovedBeforeTheProgramsCanStart checks that a confirmed restore with the wrong image leaves the data
// that it would have replaced.
func TestNothingIsRemovedBeforeTheProgramsCanStart(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.ResolvedStream){
		"the image has no such program": func(s *v1alpha1.ResolvedStream) { s.Command = []string{"absent"} },
		"the program is no program":     func(s *v1alpha1.ResolvedStream) { s.Command = []string{"/etc/passwd"} },
		"the image lacks the second program": func(s *v1alpha1.ResolvedStream) {
			s.Finish = &v1alpha1.ResolvedProgram{Command: []string{"absent"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := streaming(t)
			id := p.archived("snap-1", []byte("what was kept"))
			p.write("cairn/volumes/dump/data/ibdata1", "the only copy of today")
			result := p.unpacks(id, mover.Flags{}, by("cat >kept", "", confirmed(task.Restore{DeleteExtra: true}),
				func(t *task.Task) { change(t.Components[0].Stream) }))
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
			g.Expect(result.Message).To(MatchRegexp("the image has no program absent|passwd is not executable"))
			g.Expect(os.ReadFile(p.in("data/ibdata1"))).To(BeEquivalentTo("the only copy of today"))
			g.Expect(p.in("data/kept")).NotTo(BeAnExistingFile())
			g.Expect(result.Components[0].TargetUntouched).To(BeTrue(), "it can be tried again")
			g.Expect(p.reports.restores["dump"]).To(HaveLen(1), "nobody was told that it is being written")
		})
	}

	t.Run("nobody answers in the container", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		p := streaming(t)
		id := p.archived("snap-1", []byte("what was kept"))
		p.remove(task.ProgramSocket)
		p.mover.ProgramPatience = 1
		p.write("cairn/volumes/dump/data/ibdata1", "the only copy of today")
		result := p.unpacks(id, mover.Flags{}, by("cat >kept", "", confirmed(task.Restore{DeleteExtra: true})))
		g.Expect(result.Message).To(ContainSubstring("does not answer"))
		g.Expect(os.ReadFile(p.in("data/ibdata1"))).To(BeEquivalentTo("the only copy of today"))
	})

	t.Run("a dump into a database whose second program is missing", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		p := streaming(t)
		id := p.backUp("snap-1", dumpOf("echo rows"))
		into := t.TempDir()
		c := dumpOf("cat >" + into + "/rows")
		c.Stream.Finish = &v1alpha1.ResolvedProgram{Command: []string{"absent"}}
		result := p.restoreInto(id, c)
		g.Expect(result.Message).To(ContainSubstring("the image has no program absent"))
		g.Expect(os.ReadDir(into)).To(BeEmpty())
		g.Expect(result.Components[0].TargetUntouched).To(BeTrue())
	})
}
