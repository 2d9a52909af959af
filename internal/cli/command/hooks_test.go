package command_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

// The exit code of a hook says too little, and what it wrote is deep in the status.
func TestTheLastOutputOfAFailedHook(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := &v1alpha1.BackupSession{}
	g.Expect(command.BackupHookErrors(s)).To(BeEmpty())
	s.Status.Hooks = &v1alpha1.HookStatuses{PostHooks: []v1alpha1.HookStatus{
		{Name: "thaw", Phase: v1alpha1.HookFailed, Stderr: "one line"},
		{Name: "mute", Phase: v1alpha1.HookFailed},
	}}
	s.Status.Targets = []v1alpha1.BackupTargetStatus{{Name: "db"}, {Name: "web", Hooks: &v1alpha1.HookStatuses{
		PreHooks: []v1alpha1.HookStatus{
			{Name: "fine", Phase: v1alpha1.HookSucceeded, Stderr: "a warning"},
			{Name: "freeze", Phase: v1alpha1.HookFailed, Stderr: "frozen:\nsh: 1: freez: not found\n"},
		},
	}}}
	g.Expect(command.BackupHookErrors(s)).To(Equal([]command.Part{
		{Name: "hook thaw: ", Text: "its last output: one line"},
		{Name: "target web: hook freeze: ", Text: "its last output: sh: 1: freez: not found"},
	}))
}
