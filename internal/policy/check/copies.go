package check

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

// CopyMistakes finds the settings of a session for which no copy of the volumes can be made. field is the path of the
// session. addon can be nil; then nothing that depends on it is checked.
func CopyMistakes(
	field string, target v1alpha1.TypedObjectReference, session *v1alpha1.BackupConfigurationSession,
	addon *v1alpha1.Addon,
) []policy.Mistake {
	if !session.CopyMethod.Copies() {
		return nil
	}
	why := WhyNoCopies(session.CopyMethod, target, catalog.TaskDriver(addon, session.Addon, false),
		catalog.Executor(session.Executor, addon, session.Addon, false))
	if why == "" {
		return nil
	}
	return []policy.Mistake{{Field: field + ".copyMethod", Reason: v1alpha1.ReasonCopyNotPossible, Message: why}}
}

// WhyNoCopies explains why the volumes of a target cannot be copied; "" if they can, or if no copies are asked for.
func WhyNoCopies(
	method v1alpha1.CopyMethod, target v1alpha1.TypedObjectReference, driver v1alpha1.Driver,
	executor v1alpha1.Executor,
) string {
	switch {
	case !method.Copies():
		return ""
	case target.IsDatabase():
		return "a database delivers its data itself, which is consistent without a copy of its volumes: leave " +
			"copyMethod out"
	case driver == v1alpha1.DriverVolumeSnapshotter:
		return "the task makes VolumeSnapshots and reads no files: leave copyMethod out"
	case executor == v1alpha1.ExecutorSidecar:
		return fmt.Sprintf("a sidecar reads the volumes of its own pod and cannot read a copy: use executor Job with "+
			"copyMethod %s, or leave copyMethod out", method)
	default:
		return ""
	}
}
