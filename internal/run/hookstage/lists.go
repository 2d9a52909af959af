package hookstage

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// PreOf returns the hooks that run before the work. h can be nil.
func PreOf(h *v1alpha1.ResolvedHooks) []v1alpha1.ResolvedHook {
	if h == nil {
		return nil
	}
	return h.Pre
}

// PostOf returns the hooks that run after the work. h can be nil.
func PostOf(h *v1alpha1.ResolvedHooks) []v1alpha1.ResolvedHook {
	if h == nil {
		return nil
	}
	return h.Post
}

// Statuses returns the statuses of hooks and creates them where they are missing.
func Statuses(h **v1alpha1.HookStatuses) *v1alpha1.HookStatuses {
	if *h == nil {
		*h = &v1alpha1.HookStatuses{}
	}
	return *h
}

// AppliesAfter reports whether a hook runs after an outcome.
func AppliesAfter(p v1alpha1.HookExecutionPolicy, failed, last bool) bool {
	switch p {
	case v1alpha1.HookOnSuccess:
		return !failed
	case v1alpha1.HookOnFailure:
		return failed
	case v1alpha1.HookOnFinalRetryFailure:
		return failed && last
	default:
		return true
	}
}
