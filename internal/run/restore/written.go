package restore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/task"
)

// MayHaveWritten reports whether a restore that has ended can have changed its target. It has not if it was never
// frozen, or if each of its components was refused before a mover wrote, in each attempt. Hooks and steps of the task
// can write before that. A restore that another one kept out counts as that one, which writes.
func MayHaveWritten(s *v1alpha1.RestoreSession) bool {
	resolved := s.Status.Resolved
	if resolved == nil {
		return s.Status.Reason == v1alpha1.ReasonRestoreInProgress
	}
	if resolved.Hooks != nil || len(resolved.Task.Steps) > 0 || len(resolved.Hosts) == 0 {
		return true
	}
	for _, h := range resolved.Hosts {
		for _, v := range h.Volumes {
			c := s.Status.Components[v.Component]
			made := v.Template > 0 || v.Provision != nil
			if made || wrote(c) || c.UntouchedAttempts < s.Status.Attempt-1 {
				return true
			}
		}
	}
	return false
}

// wrote reports whether the mover of a component can have written in the last attempt. What an earlier one wrote is in
// TargetWritten, too.
func wrote(c v1alpha1.RestoredComponent) bool {
	if c.Phase != v1alpha1.RestoreSessionFailed {
		return true
	}
	return !c.TargetUntouched && (c.TargetWritten || !endsBeforeWriting(c.Reason))
}

// untouched reports whether no mover has changed the target of a component in so many attempts.
func untouched(c v1alpha1.RestoredComponent, attempts int32) bool {
	return c.UntouchedAttempts >= attempts-1 && (!wrote(c) || neverRan(c))
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

// endsBeforeWriting reports whether the reason of a failed component proves that its mover wrote nothing: the mover
// looks at the target and opens the repository first, and a Job that was refused never ran.
func endsBeforeWriting(reason string) bool {
	switch reason {
	case v1alpha1.ReasonVolumeNotEmpty, v1alpha1.ReasonWrongPassword, v1alpha1.ReasonPasswordChanged,
		v1alpha1.ReasonConfirmationMissing, v1alpha1.ReasonConfirmationWrong, v1alpha1.ReasonConfirmationUsed,
		v1alpha1.ReasonSnapshotDamaged, v1alpha1.ReasonRestoreNotAllowed, v1alpha1.ReasonCreationRefused:
		return true
	default:
		return false
	}
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
