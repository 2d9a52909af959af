package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// HoldsVolumeSnapshots reports whether a Repository has the driver VolumeSnapshotter: it has no storage, no directory
// and no password, and its data are VolumeSnapshots in its namespace.
func HoldsVolumeSnapshots(r *v1alpha1.Repository) bool {
	return r.Spec.Driver == v1alpha1.DriverVolumeSnapshotter
}

// OtherDriverMessage returns the message about a session whose task has another driver than its Repository.
func OtherDriverMessage(repository string, has, wants v1alpha1.Driver) string {
	return fmt.Sprintf(
		"the Repository %q has driver %s, but the task of this session has driver %s: a Repository has only one "+
			"driver. "+
			"Give the repository of this session another name", repository, has, wants)
}

// NamesRetention reports whether a backend names a RetentionPolicy.
func NamesRetention(b *v1alpha1.BackendReference) bool {
	return b.RetentionPolicy != nil && b.RetentionPolicy.Name != ""
}
