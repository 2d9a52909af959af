package cli

import (
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// targetState describes how a target of a BackupSession is doing.
func targetState(t v1alpha1.BackupTargetStatus) string {
	state := strings.ToLower(phase(string(t.Phase)))
	if t.Phase == v1alpha1.BackupSessionSucceeded {
		if t.Size != "" {
			state += ", " + sumSizes(t.Size) + " backed up"
		}
		if t.Uploaded != "" {
			state += ", " + sumSizes(t.Uploaded) + " uploaded"
		}
		return state
	}
	if h := t.Hooks; t.Phase == v1alpha1.BackupSessionRunning && h != nil && len(h.PostHooks) > 0 {
		if t.Reason == v1alpha1.ReasonSucceeded {
			return state + ", backed up, its postBackup hooks are running"
		}
		return state + ", its postBackup hooks are running" + because(string(t.Phase), t.Reason, t.Message)
	}
	return state + because(string(t.Phase), t.Reason, t.Message)
}

// componentState describes how a component of a Snapshot is doing.
func componentState(c v1alpha1.Component) string {
	state := strings.ToLower(phase(string(c.Phase)))
	if c.Phase == v1alpha1.SnapshotSucceeded {
		return fmt.Sprintf("%s, %s in %s, %s uploaded", state, shortSize(float64(c.SizeBytes)), count(int(c.Files), "file"),
			shortSize(float64(c.UploadedBytes)))
	}
	return state + because(string(c.Phase), c.Reason, c.Error)
}

// restoredState describes how a component of a RestoreSession is doing.
func restoredState(c v1alpha1.RestoredComponent) string {
	state := strings.ToLower(phase(string(c.Phase)))
	if p := c.Progress; p != nil && c.Phase == v1alpha1.RestoreSessionRunning {
		return fmt.Sprintf("%s, %d %% done, %s of %s, %s", state, p.PercentDone, p.RestoreDone, p.Total, p.Speed)
	}
	if c.Phase != v1alpha1.RestoreSessionSucceeded {
		return state + because(string(c.Phase), c.Reason, c.Error)
	}
	state += fmt.Sprintf(", %s in %s", shortSize(float64(c.SizeBytes)), count(int(c.Files), "file"))
	for _, n := range []struct {
		count int64
		what  string
	}{{c.Overwritten, "overwritten"}, {c.Kept, "kept"}, {c.Deleted, "deleted"}, {c.Verified, "verified"}} {
		if n.count > 0 {
			state += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	if c.OwnersNotRestored > 0 {
		state += fmt.Sprintf(", %d owners not restored", c.OwnersNotRestored)
	}
	if c.DevicesNotRestored > 0 {
		state += fmt.Sprintf(", %d devices not restored", c.DevicesNotRestored)
	}
	if c.AttributesNotRestored > 0 {
		state += fmt.Sprintf(", %d attributes not restored", c.AttributesNotRestored)
	}
	return state
}

// because explains a phase with its reason and message, unless the phase says the same.
func because(phase, why, message string) string {
	text := ""
	if why = reason(phase, why); why != "" {
		text = " (" + why + ")"
	}
	if message != "" {
		text += ": " + message
	}
	return text
}
