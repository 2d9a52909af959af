// Package hook is what sessions run before and after a backup or restore: which values a HookTemplate is run with, and the
// action that comes of them. It reads no clock and talks to nobody; internal/hook/execute carries actions out.
package hook
