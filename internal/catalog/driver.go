package catalog

import (
	"cmp"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TaskDriver returns the driver of the Addon's task that info names; empty if there is no Addon or no such task.
func TaskDriver(addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool) v1alpha1.Driver {
	if addon == nil || info == nil || len(info.Tasks) == 0 {
		return ""
	}
	task := FindTask(addon, info.Tasks[0].Name, restore)
	if task == nil {
		return ""
	}
	return cmp.Or(task.Driver, v1alpha1.DriverKopia)
}
