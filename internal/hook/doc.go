// Package hook resolves and renders the hooks that sessions run before and after a backup or restore: it fills a
// HookTemplate in with values and returns the resulting action.
//
// All functions are pure: they read no clock and talk to nobody, so they are safe for concurrent use.
// internal/kube/hookexec carries the actions out.
//
// Invariants: values of Secrets are never frozen, never put into a command and never part of an error. A template
// always ends and can't fill memory.
package hook
