package retention

import (
	"github.com/fluxcd/pkg/runtime/conditions"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Leave clears what was measured of a Repository in the place where it was before. What is known to be damaged counts
// as damaged until a check finds it intact: the data was most likely copied from there.
func Leave(r *v1alpha1.Repository) {
	status := &r.Status
	status.StoredBytes = nil
	if status.Integrity != nil && *status.Integrity {
		status.Integrity = nil
	}
	if m := status.LastMaintenance; m != nil {
		status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: m.Quick}
	}
	if status.LastBackupTime == nil { // there is nothing to check
		return
	}
	conditions.MarkUnknown(r, v1alpha1.ConditionChecked, v1alpha1.ReasonNotChecked,
		"the BackupStorage or the path names another place now, where nothing was checked yet")
}

// LeaveSnapshot does so for a Snapshot, and reports whether it changed anything.
func LeaveSnapshot(s *v1alpha1.Snapshot) bool {
	changed := apimeta.RemoveStatusCondition(&s.Status.Conditions, v1alpha1.ConditionChecked)
	changed = changed || s.Status.LastCheckTime != nil
	s.Status.LastCheckTime = nil
	if s.Status.Integrity != nil && *s.Status.Integrity {
		s.Status.Integrity, changed = nil, true
	}
	for name, c := range s.Status.Components {
		if c.Integrity != nil && *c.Integrity {
			c.Integrity, changed = nil, true
			s.Status.Components[name] = c
		}
	}
	return changed
}

// Moved reports whether a Repository has another place than before, and no check was done there since. The condition
// RetentionApplied remembers it while checks fail.
func Moved(r *v1alpha1.Repository) bool {
	return conditions.Has(r, v1alpha1.ConditionChecked) && !conditions.IsTrue(r, v1alpha1.ConditionChecked) &&
		(conditions.GetReason(r, v1alpha1.ConditionChecked) == v1alpha1.ReasonNotChecked ||
			conditions.GetReason(r, v1alpha1.ConditionRetentionApplied) == v1alpha1.ReasonNotChecked)
}
