package command_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

// The exit code of a hook says too little, and what it wrote is deep in the status.
func TestTheStderrOfAFailedHook(t *testing.T) {
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
		{Name: "postBackup hook thaw: ", Text: "its stderr ends with: one line"},
		{Name: "target web: preBackup hook freeze: ", Text: "its stderr ends with: sh: 1: freez: not found"},
	}))
}

// A hook of the same name is before and after the backup, and its listener is away: each line is printed once.
func TestAHookInBothListsIsToldOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	failed := func(stderr string) []v1alpha1.HookStatus {
		return []v1alpha1.HookStatus{{Name: "notify", Phase: v1alpha1.HookFailed, Stderr: stderr}}
	}
	hooks := &v1alpha1.HookStatuses{PreHooks: failed("connection refused"), PostHooks: failed("i/o timeout")}
	s := &v1alpha1.BackupSession{}
	s.Status.Targets = []v1alpha1.BackupTargetStatus{{Name: "web", Hooks: hooks}}
	for what, parts := range map[string][]command.Part{
		"target web: preBackup hook notify: its stderr ends with: connection refused\n" +
			"target web: postBackup hook notify: its stderr ends with: i/o timeout\n": command.BackupHookErrors(s),
		"preRestore hook notify: its stderr ends with: connection refused\n" +
			"postRestore hook notify: its stderr ends with: i/o timeout\n": command.RestoreHookErrors(hooks),
	} {
		var out bytes.Buffer
		looks, o := 0, command.Options{Poll: time.Millisecond}
		o.Out = &out
		g.Expect(command.Follow(t.Context(), o, "it", time.Minute, func(context.Context) (command.Progress, error) {
			looks++
			return command.Progress{Parts: parts, Phase: "Succeeded", Ended: looks == 3}, nil
		})).To(Succeed())
		g.Expect(out.String()).To(Equal(what + "it succeeded\n"))
	}
}
