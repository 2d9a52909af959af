package restore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/task"
)

// MayHaveWritten reports whether a restore that has ended can have changed its target. It has not if it was never
// frozen, or if it left each of its volumes untouched and no hook ran. A restore that another one kept out counts as
// that one, which writes.
func MayHaveWritten(s *v1alpha1.RestoreSession) bool {
	resolved := s.Status.Resolved
	if resolved == nil {
		return s.Status.Reason == v1alpha1.ReasonRestoreInProgress
	}
	if hooks := s.Status.Hooks; hooks != nil && (hookround.Ran(hooks.PreHooks) || hookround.Ran(hooks.PostHooks)) ||
		len(resolved.Hosts) == 0 {
		return true
	}
	for _, h := range resolved.Hosts {
		for i := range h.Volumes {
			v := &h.Volumes[i]
			if !untouched(&s.Status, v) ||
				s.Status.Components[v.Component].Reason == v1alpha1.ReasonRestoreInProgress {
				return true
			}
		}
	}
	return false
}

// untouched reports whether a restore that has ended has left what a volume is restored into as it was. Everything that
// depends on this asks here. What is not known counts as a change, for example what an earlier version has written
// down. A claim that the restore made, in the place of data or not, is not as it was.
func untouched(s *v1alpha1.RestoreSessionStatus, v *v1alpha1.ResolvedRestoreVolume) bool {
	return v.Template == 0 && v.Provision == nil && !stepsMayWrite(s.Resolved.Task, v) &&
		unchanged(s.Components[v.Component], s.Attempt)
}

// unchanged reports whether a component says that its movers have changed nothing in so many attempts.
func unchanged(c v1alpha1.RestoredComponent, attempts int32) bool {
	return c.Phase == v1alpha1.RestoreSessionFailed && c.TargetUntouched && c.UntouchedAttempts >= attempts-1
}

// stepsMayWrite reports whether a step before the mover can have written into what a volume is restored into. Where
// that is a database, any step can: it needs no volume for that.
func stepsMayWrite(t v1alpha1.ResolvedTask, v *v1alpha1.ResolvedRestoreVolume) bool {
	return stepThatWritesFirst(t) != "" || !v.Mounted() && len(t.Steps) > 0
}

// refused reports whether the Result of a mover says that it refused its task, before it began with any component.
func refused(result *task.Result) bool {
	return result.Reason == v1alpha1.ReasonInvalidTask && len(result.Components)+result.Omitted == 0
}

// anotherBegan reports whether another mover than the one of a Result had begun with a component in the same attempt,
// as before says: the pod of a Job that was suspended and resumed, or the container of a sidecar that was restarted.
func anotherBegan(before, result v1alpha1.RestoredComponent) bool {
	return before.StartTime != nil && !before.StartTime.Equal(result.StartTime)
}

// HalfRestoredBy returns the name and UID of the RestoreSession that HalfRestored names. The UID is empty if several
// have left their parts.
func HalfRestoredBy(annotations map[string]string, target types.UID) (name string, by types.UID) {
	if name, by, of := parseHalf(annotations); of == target {
		return name, by
	}
	return "", ""
}

// widenHalf makes sure that only a restore of everything ends the mark of an earlier restore: by has left a part, too.
func widenHalf(annotations map[string]string, by types.UID) {
	if name, earlier, of := parseHalf(annotations); name != "" && earlier != by {
		annotations[v1alpha1.AnnotationHalfRestored] = fmt.Sprintf("%s//%s", name, of)
	}
}

// fulfils reports whether a restore that ends well has written all that an earlier one was to write into a claim, or
// into a database if claim is "": the same data, chosen in the same way. Either can be nil.
func fulfils(s, earlier *v1alpha1.RestoreSession, claim string) bool {
	if s == nil || earlier == nil || s.Status.Resolved == nil || earlier.Status.Resolved == nil {
		return false
	}
	now, then := s.Status.Resolved, earlier.Status.Resolved
	rule := cmp.Or(s.Spec.OverwritePolicy, v1alpha1.OverwriteAlways)
	if now.Repository.UID != then.Repository.UID || now.Task.Addon != then.Task.Addon ||
		now.Task.Task != then.Task.Task || now.Task.Function != then.Task.Function ||
		!maps.Equal(catalog.RestoreParams(s.Spec.Addon), catalog.RestoreParams(earlier.Spec.Addon)) ||
		rule != v1alpha1.OverwriteAlways && rule != earlier.Spec.OverwritePolicy {
		return false
	}
	written, wanted := partsOf(now, claim), partsOf(then, claim)
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(p part) bool { return !slices.Contains(written, p) })
}

// part is data of a repository, and the path in its volume that it goes to.
type part struct{ id, path string }

// partsOf returns what a restore writes into a claim, or into a database if claim is "".
func partsOf(resolved *v1alpha1.ResolvedRestore, claim string) (parts []part) {
	for _, h := range resolved.Hosts {
		for i := range h.Volumes {
			if v := &h.Volumes[i]; v.ClaimName == claim {
				parts = append(parts, part{v.ID, v.Path})
			}
		}
	}
	return parts
}
