package command

import (
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// HookErrors returns, for each hook that failed, the last line that it wrote. of says whose hooks they are, or is "".
// Only the terminal shows this: it can hold a secret, so messages, events and records say no more than the exit code.
func HookErrors(of string, hooks *v1alpha1.HookStatuses) []Part {
	if hooks == nil {
		return nil
	}
	var out []Part
	for _, h := range slices.Concat(hooks.PreHooks, hooks.PostHooks) {
		text := strings.TrimSpace(h.Stderr)
		if h.Phase != v1alpha1.HookFailed || text == "" {
			continue
		}
		last := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
		out = append(out, Part{Name: of + "hook " + h.Name + ": ", Text: "its last output: " + last})
	}
	return out
}

// BackupHookErrors returns HookErrors of a run and of its targets.
func BackupHookErrors(s *v1alpha1.BackupSession) []Part {
	out := HookErrors("", s.Status.Hooks)
	for _, t := range s.Status.Targets {
		out = append(out, HookErrors("target "+t.Name+": ", t.Hooks)...)
	}
	return out
}
