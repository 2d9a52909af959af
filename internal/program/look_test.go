package program_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/program"
)

// TestALookStartsNothing checks that a look finds what a start would miss, and leaves nothing behind.
func TestALookStartsNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		args  []string
		dir   string // below a directory of the test; empty means that directory
		fault program.Fault
		says  string
	}{
		"a program": {args: []string{"sh", "-c", "touch started"}},
		"a path":    {args: []string{"/bin/sh", "-c", "touch started"}},
		"no such program": {
			[]string{"mbstream_of_tomorrow", "-x"},
			"", program.FaultMissing,
			"the image has no program mbstream_of_tomorrow",
		},
		"no such path": {
			[]string{"/nowhere/mbstream"}, "", program.FaultMissing, "the image has no program mbstream",
		},
		"not executable": {[]string{"/etc/passwd"}, "", program.FaultNotExecutable, "program passwd is not executable"},
		"no program":     {nil, "", "", "no program to run"},
		"no directory": {
			[]string{"sh"}, "absent", program.FaultDirectory, "program sh can't enter its working directory",
		},
	} {
		everywhere(t, name, func(t *testing.T, at place) {
			t.Parallel()
			g := NewWithT(t)
			top := t.TempDir()
			spec := at(program.Spec{Args: tc.args, Dir: filepath.Join(top, tc.dir)})
			spec.FilesDir = filepath.Join(top, "files")
			spec.Files = []program.File{{Name: "login", Content: []byte("hunter2")}}
			err := program.Look(t.Context(), spec)
			g.Expect(os.ReadDir(top)).To(BeEmpty(), "no program ran, and no file of one was written")
			if tc.says == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			var bad *program.Error
			g.Expect(errors.As(err, &bad)).To(BeTrue(), "%v", err)
			g.Expect(bad.Message).To(Equal(tc.says))
			g.Expect(bad.Fault).To(Equal(tc.fault))
		})
	}

	t.Run("a directory that a start makes", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "files")
		spec := program.Spec{Socket: serve(t), Args: []string{"sh"}, Dir: dir, FilesDir: dir}
		NewWithT(t).Expect(program.Look(t.Context(), spec)).To(Succeed())
		NewWithT(t).Expect(dir).NotTo(BeADirectory())
	})
	t.Run("nobody answers", func(t *testing.T) {
		t.Parallel()
		spec := program.Spec{Socket: filepath.Join(t.TempDir(), "s"), Args: []string{"sh"}, Patience: time.Millisecond}
		err := program.Look(t.Context(), spec)
		var bad *program.Error
		g := NewWithT(t)
		g.Expect(errors.As(err, &bad)).To(BeTrue(), "%v", err)
		g.Expect(bad.Fault).To(Equal(program.FaultUnanswered))
	})
}

// TestATakenOverContainerCannotAnswerALookAsItLikes checks that only the words of this process get into the error.
func TestATakenOverContainerCannotAnswerALookAsItLikes(t *testing.T) {
	for name, tc := range map[string]struct{ frame, says string }{
		"another answer":  {isStarted, "does not answer (an answer out of turn)"},
		"a contradiction": {`{"state":"found","refused":{"fault":"missing"}}`, "contradicts itself"},
		"its own words":   {`{"state":"refused","refused":{"fault":"run rm -rf"}}`, "program sh can't be started"},
		"nothing":         {"", "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := takeOver(t, func(s takenOver) {
				if tc.frame != "" {
					s.say(tc.frame)
				}
			})
			err := program.Look(t.Context(), spec)
			g := NewWithT(t)
			g.Expect(err).To(MatchError(ContainSubstring(tc.says)))
			g.Expect(err.Error()).NotTo(ContainSubstring("rm -rf"))
			g.Expect(program.MayHaveStarted(err)).To(BeFalse())
		})
	}
}
