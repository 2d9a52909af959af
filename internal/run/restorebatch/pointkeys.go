package restorebatch

import (
	"cmp"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// namesakes are the Snapshots whose restore points have one name.
type namesakes struct {
	// uids are those of the runs that began the points.
	uids map[string]bool
	// identified and bare are the Repositories that these runs themselves backed up, by whether the Snapshot has a UID.
	identified, bare map[string]bool
}

// pointKeys returns the function that identifies the restore point of a Snapshot of the list. Snapshots of earlier
// versions have no UID. They join the only UID of their point's name: the run that an upgrade found under way, or a
// retry after the upgrade, has added Snapshots with it. They don't if a run with this UID backed up one of the same
// Repositories itself: that is another run of the same name.
func pointKeys(list []v1alpha1.Snapshot, source *v1alpha1.RestoreBatchDataSource) func(*v1alpha1.Snapshot) string {
	all := map[string]*namesakes{}
	for i := range list {
		s := &list[i]
		if !retention.OfBatch(s, source) {
			continue
		}
		point := retention.Point(s)
		n := all[point]
		if n == nil {
			n = &namesakes{map[string]bool{}, map[string]bool{}, map[string]bool{}}
			all[point] = n
		}
		made := n.bare
		if uid := s.Labels[v1alpha1.LabelRestorePointUID]; uid != "" {
			n.uids[uid], made = true, n.identified
		}
		if s.Spec.BackupSession == point {
			made[s.Spec.Repository] = true
		}
	}
	only := map[string]string{}
	for point, n := range all {
		if len(n.uids) == 1 && !overlap(n.identified, n.bare) {
			for uid := range n.uids {
				only[point] = uid
			}
		}
	}
	return func(s *v1alpha1.Snapshot) string {
		point := retention.Point(s)
		return point + "/" + cmp.Or(s.Labels[v1alpha1.LabelRestorePointUID], only[point])
	}
}

func overlap(a, b map[string]bool) bool {
	for key := range a {
		if b[key] {
			return true
		}
	}
	return false
}
