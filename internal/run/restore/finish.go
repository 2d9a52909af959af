package restore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// failure returns the reason and message of the first failed component by name, or else of the first unknown one.
func (r *runner) failure() (reason, message string) {
	for _, phase := range []v1alpha1.RestoreSessionPhase{
		v1alpha1.RestoreSessionFailed,
		v1alpha1.RestoreSessionUnknown,
	} {
		for _, name := range slices.Sorted(maps.Keys(r.d.Status.Components)) {
			c := r.d.Status.Components[name]
			if c.Phase != phase {
				continue
			}
			message = cmp.Or(c.Error, "the restore failed")
			if r.d.Status.TotalComponents > 1 {
				message = fmt.Sprintf("component %s: %s", name, message)
			}
			return task.ReasonOfFailure(c.Reason), message
		}
	}
	return v1alpha1.ReasonFailed, "the restore failed"
}

// finish ends a restore according to its components, once its postRestore hooks have ended.
func (r *runner) finish() {
	s := &r.d.Status
	hooks, ended := r.postRestore()
	if !ended || !r.present() || r.marking {
		return
	}
	done := map[v1alpha1.RestoreSessionPhase]int{}
	var lost lostCounts
	total := 0
	for _, h := range s.Resolved.Hosts {
		for _, v := range h.Volumes {
			c := s.Components[v.Component]
			total++
			done[c.Phase]++
			lost.add(&c)
		}
	}
	succeeded := done[v1alpha1.RestoreSessionSucceeded]
	if succeeded < total || total == 0 {
		phase := v1alpha1.RestoreSessionFailed
		if succeeded+done[v1alpha1.RestoreSessionUnknown] == total && total > 0 {
			phase = v1alpha1.RestoreSessionUnknown
			// As with the stamp: if a postRestore hook failed, or waits for a success, an identical restore must not
			// claim that everything is done.
			r.d.StampMade = ProvisionsClaims(s.Resolved) && !hookround.Has(s.Resolved.Hooks, hookstage.Post)
		}
		switch {
		case succeeded > 0:
			run.EndPartial(&s.Conditions, "some components are restored and some are not: see status.components",
				r.Session.Generation, r.Now)
		case phase == v1alpha1.RestoreSessionFailed:
			apimeta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionPartial)
		}
		reason, message := r.failure()
		r.end(phase, reason, message)
		return
	}
	// A restore with a failed postRestore hook is not stamped: an identical restore must not claim that everything is
	// done.
	r.d.Stamp = hooks == ""
	if lost != (lostCounts{}) {
		run.EndPartial(&s.Conditions, r.notRestored(lost), r.Session.Generation, r.Now)
	}
	if hooks != "" {
		r.end(v1alpha1.RestoreSessionFailed, v1alpha1.ReasonFailedToExecutePostRestoreHooks,
			hookround.Restore.HooksFailedMessage(r.success(), hooks))
		return
	}
	r.end(v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded, r.success())
}

// waitsForMarks reports whether the end of the restore waits until the API server lets the targets be marked, and notes
// that. It waits neither for ever nor past the deadline.
func (r *runner) waitsForMarks() bool {
	waits := false
	for _, name := range []string{StampRefused, ReleaseRefused} {
		if why := r.Refused[name]; why != nil && !r.late() {
			waits = r.heldUp(&v1alpha1.ResolvedError{
				Reason: why.Reason, Message: "the work has ended, but its targets can't be marked: " + why.Message,
			}) || waits
		}
	}
	return waits
}

// end ends the restore. If the API server does not let its targets be marked, it says what that means. What was
// restored is restored all the same.
func (r *runner) end(phase v1alpha1.RestoreSessionPhase, reason, message string) {
	unstamped, unreleased, more := r.Refused[StampRefused], r.Refused[ReleaseRefused], ""
	if unstamped != nil && (r.d.Stamp || r.d.StampMade) {
		r.d.Stamp, r.d.StampMade = false, false
		more = "; its targets are not all marked as restored, so the same restore made again is not Skipped: it " +
			"restores again, or is refused"
	}
	switch {
	case unreleased == nil:
	case !r.failed():
		more += fmt.Sprintf("; its targets are not all released: remove the annotation %s, or a backup takes what was "+
			"restored for half restored", v1alpha1.AnnotationHalfRestored)
	default:
		more += fmt.Sprintf("; its targets are not all released: what was not written has the annotation %s too, "+
			"and a confirmation counts as used", v1alpha1.AnnotationHalfRestored)
	}
	if more != "" {
		more += ": " + text.Cut(cmp.Or(unreleased, unstamped).Message, text.MaxMessage/4)
	}
	end(r.Input, r.d, phase, reason, text.Cut(message, text.MaxMessage-len(more))+more)
	r.d.Release = r.d.Release && unreleased == nil
	if more != "" {
		r.d.Event.Type = corev1.EventTypeWarning
	}
}

// success says what was restored, and where.
func (r *runner) success() string {
	resolved := r.d.Status.Resolved
	of := "Snapshot " + resolved.Snapshot
	if r.d.Status.TotalComponents > 1 {
		into := "new PersistentVolumeClaims"
		if r.Session.Spec.Target != nil {
			into = r.Session.Spec.Target.String()
		}
		if resolved.Snapshot == "" && ProvisionsClaims(resolved) {
			return "restored all VolumeSnapshots into " + into
		}
		return fmt.Sprintf("restored all components of %s that were asked for into %s", of, into)
	}
	for _, h := range resolved.Hosts {
		if len(h.Volumes) > 0 {
			v := h.Volumes[0]
			into := "PersistentVolumeClaim " + v.ClaimName
			if !v.Mounted() && r.Session.Spec.Target != nil {
				into = r.Session.Spec.Target.String()
			}
			if v.Provision != nil && resolved.Snapshot == "" {
				return fmt.Sprintf("restored VolumeSnapshot %s into %s", v.Provision.VolumeSnapshot, into)
			}
			return fmt.Sprintf("restored component %s of %s into %s", v.Component, of, into)
		}
	}
	return "restored " + of
}
