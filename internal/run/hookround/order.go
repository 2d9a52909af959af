package hookround

import (
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// Has reports whether there are hooks of a stage. h can be nil.
func Has(h *v1alpha1.ResolvedHooks, stage hookstage.Stage) bool {
	if h == nil {
		return false
	}
	if stage == hookstage.Pre {
		return len(h.Pre) > 0
	}
	return len(h.Post) > 0
}

// Ran reports whether an attempt of a hook was started.
func Ran(hooks []v1alpha1.HookStatus) bool {
	return slices.ContainsFunc(hooks, func(h v1alpha1.HookStatus) bool { return h.Attempts > 0 })
}

// MayWork reports whether the work is allowed: the pre hooks have succeeded and the post hooks have not begun. Both
// arguments can be nil.
func MayWork(h *v1alpha1.ResolvedHooks, status *v1alpha1.HookStatuses) bool {
	if PostBegun(status) {
		return false
	}
	return !Has(h, hookstage.Pre) ||
		status != nil && hookstage.Ended(status.PreHooks) && hookstage.Failures(status.PreHooks) == ""
}

// PostBegun reports whether the work is over and the post hooks have begun. From then on nothing of the work changes.
// status can be nil.
func PostBegun(status *v1alpha1.HookStatuses) bool {
	return status != nil && len(status.PostHooks) > 0
}
