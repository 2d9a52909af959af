package command

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// TargetState describes how a target of a BackupSession is doing.
func TargetState(t v1alpha1.BackupTargetStatus) string {
	state := strings.ToLower(Phase(string(t.Phase)))
	if t.Phase == v1alpha1.BackupSessionSucceeded {
		if t.Size != "" {
			state += ", " + SumSizes(t.Size) + " backed up"
		}
		if t.Uploaded != "" {
			state += ", " + SumSizes(t.Uploaded) + " uploaded"
		}
		return state
	}
	if h := t.Hooks; t.Phase == v1alpha1.BackupSessionRunning && h != nil && len(h.PostHooks) > 0 {
		if t.Reason == v1alpha1.ReasonSucceeded {
			return state + ", backed up, its postBackup hooks are running"
		}
		return state + ", its postBackup hooks are running" + ReasonText(string(t.Phase), t.Reason, t.Message)
	}
	return state + ReasonText(string(t.Phase), t.Reason, t.Message)
}

// ComponentState describes how a component of a Snapshot is doing.
func ComponentState(c v1alpha1.Component) string {
	state := strings.ToLower(Phase(string(c.Phase)))
	if c.Phase == v1alpha1.SnapshotSucceeded {
		return fmt.Sprintf("%s, %s in %s, %s uploaded", state, ShortSize(float64(c.SizeBytes)),
			text.Quantity(c.Files, "file"),
			ShortSize(float64(c.UploadedBytes))) + unmatched(c.UnmatchedPatterns)
	}
	return state + ReasonText(string(c.Phase), c.Reason, c.Error)
}

// RestoredState describes how a component of a RestoreSession is doing.
func RestoredState(c v1alpha1.RestoredComponent) string {
	state := strings.ToLower(Phase(string(c.Phase)))
	if p := c.Progress; p != nil && c.Phase == v1alpha1.RestoreSessionRunning {
		return fmt.Sprintf("%s, %d %% done, %s of %s, %s", state, p.PercentDone, p.RestoreDone, p.Total, p.Speed)
	}
	if c.Phase != v1alpha1.RestoreSessionSucceeded {
		return state + ReasonText(string(c.Phase), c.Reason, c.Error)
	}
	state += fmt.Sprintf(", %s in %s", ShortSize(float64(c.SizeBytes)), text.Quantity(c.Files, "file"))
	for _, n := range []struct {
		count int64
		what  string
	}{{c.Overwritten, "overwritten"}, {c.Kept, "kept"}, {c.Deleted, "deleted"}, {c.Verified, "verified"}} {
		if n.count > 0 {
			state += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	if c.OwnersNotRestored > 0 {
		state += ", " + text.Quantity(c.OwnersNotRestored, "owner") + " not restored"
	}
	if c.DevicesNotRestored > 0 {
		state += ", " + text.Quantity(c.DevicesNotRestored, "device") + " not restored"
	}
	if c.LinksNotRestored > 0 {
		state += ", " + text.Quantity(c.LinksNotRestored, "hard link") + " not restored"
	}
	if c.ExtraKept > 0 {
		state += ", " + text.Quantity(c.ExtraKept, "extra entry") + " kept"
	}
	if c.AttributesNotRestored > 0 {
		state += ", " + text.Quantity(c.AttributesNotRestored, "attribute") + " not restored"
	}
	return state + unmatched(c.UnmatchedPatterns)
}

// unmatched says which patterns of a policy matched nothing.
func unmatched(patterns []string) string {
	if len(patterns) == 0 {
		return ""
	}
	return ", nothing matches " + strings.Join(patterns, ", ")
}

// ReasonText explains a phase with its reason and message, unless the phase says the same.
func ReasonText(phase, why, message string) string {
	text := ""
	if why = Reason(phase, why); why != "" {
		text = " (" + why + ")"
	}
	if message != "" {
		text += ": " + message
	}
	return text
}

// Phase returns a phase; an empty phase is Pending.
func Phase(p string) string { return cmp.Or(p, string(v1alpha1.BackupSessionPending)) }

// Reason returns the reason of a phase if it says more than the phase.
func Reason(phase, reason string) string {
	if reason == phase {
		return ""
	}
	return reason
}
