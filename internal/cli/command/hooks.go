package command

import (
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// RestoreHookErrors returns, for each hook of a restore that failed, the last line of its stderr. Only the terminal
// shows this: it can hold a secret, so messages, events and records say no more than the exit code.
func RestoreHookErrors(hooks *v1alpha1.HookStatuses) []Part { return hookErrors("", "Restore", hooks) }

// BackupHookErrors returns the same of a run and of its targets.
func BackupHookErrors(s *v1alpha1.BackupSession) []Part {
	out := hookErrors("", "Backup", s.Status.Hooks)
	for _, t := range s.Status.Targets {
		out = append(out, hookErrors("target "+t.Name+": ", "Backup", t.Hooks)...)
	}
	return out
}

// hookErrors names each hook with its list, because one of the same name can be in both. of says whose hooks they are,
// or is "", and what is Backup or Restore.
func hookErrors(of, what string, hooks *v1alpha1.HookStatuses) []Part {
	if hooks == nil {
		return nil
	}
	return slices.Concat(failedHooks(of+"pre"+what, hooks.PreHooks), failedHooks(of+"post"+what, hooks.PostHooks))
}

func failedHooks(list string, hooks []v1alpha1.HookStatus) []Part {
	var out []Part
	for _, h := range hooks {
		text := strings.TrimSpace(h.Stderr)
		if h.Phase != v1alpha1.HookFailed || text == "" {
			continue
		}
		last := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
		out = append(out, Part{Name: list + " hook " + h.Name + ": ", Text: "its stderr ends with: " + last})
	}
	return out
}
