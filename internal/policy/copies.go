package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// CopyMistakes finds what a session asks for that no copy of the volumes can be made for. field is where the session stands. addon
// may be nil: what it would show is not looked for.
func CopyMistakes(field string, target v1alpha1.TypedObjectReference, session *v1alpha1.BackupConfigurationSession, addon *v1alpha1.Addon) []Mistake {
	if !session.CopyMethod.Copies() {
		return nil
	}
	why := NoCopies(session.CopyMethod, target, TaskDriver(addon, session.Addon, false), Executor(session.Executor, addon, session.Addon, false))
	if why == "" {
		return nil
	}
	return []Mistake{{Field: field + ".copyMethod", Reason: v1alpha1.ReasonCopyNotPossible, Message: why}}
}

// NoCopies says why no copies of a target's volumes are made; empty where they can be, or are not asked for.
func NoCopies(method v1alpha1.CopyMethod, target v1alpha1.TypedObjectReference, driver v1alpha1.Driver, executor v1alpha1.Executor) string {
	switch {
	case !method.Copies():
		return ""
	case target.IsDatabase():
		return "a database is asked for its data, which is consistent without a copy of its volumes: leave copyMethod out"
	case driver == v1alpha1.DriverVolumeSnapshotter:
		return "the task makes VolumeSnapshots, and reads no files: leave copyMethod out"
	case executor == v1alpha1.ExecutorSidecar:
		return fmt.Sprintf("a sidecar reads the volumes of its own pod, and can't be given a copy: copyMethod %s goes with executor Job", method)
	default:
		return ""
	}
}
