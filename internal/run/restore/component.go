package restore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// ChooseComponents returns the names of the components of a Snapshot to restore: those in asked, or all if asked is
// empty. It refuses components that do not exist or have no data.
func ChooseComponents(s *v1alpha1.Snapshot, asked []string) ([]string, *v1alpha1.ResolvedError) {
	have := slices.Sorted(maps.Keys(s.Status.Components))
	if len(have) == 0 {
		return nil, workload.Fail(v1alpha1.ReasonComponentNotFound, "Snapshot %s has no components", s.Name)
	}
	chosen := have
	if len(asked) > 0 {
		chosen = slices.Sorted(slices.Values(asked))
	}
	for _, name := range chosen {
		c, there := s.Status.Components[name]
		switch {
		case !there:
			return nil, workload.Fail(v1alpha1.ReasonComponentNotFound,
				"Snapshot %s has no component %q; it has: %s", s.Name,
				name, strings.Join(have, ", "))
		case c.Phase != v1alpha1.SnapshotSucceeded || c.ID == "":
			return nil, workload.Fail(v1alpha1.ReasonComponentNotFound, "component %s of Snapshot %s has no data",
				name, s.Name)
		}
	}
	return chosen, nil
}

// DumpRefusal refuses to restore a Snapshot of a database into a volume without an Addon. The Addon says whether the
// volume gets the dump as a file or the files of the server.
func DumpRefusal(
	s *v1alpha1.Snapshot, target *v1alpha1.TypedObjectReference, addon *v1alpha1.AddonInfo,
) *v1alpha1.ResolvedError {
	if addon != nil || target != nil && target.IsDatabase() || !s.Spec.AppRef.IsDatabase() {
		return nil
	}
	return workload.Fail(v1alpha1.ReasonAddonNotFound,
		"Snapshot %s is a backup of %s, and the target is a volume: name the Addon and the task, "+
			"physical-backup-restore of the database's Addon for a physical backup, or %s of %s to restore a dump "+
			"as a file", s.Name, s.Spec.AppRef, catalog.RestoreTask, catalog.VolumeAddon)
}

// Before limits the time of a Snapshot. The zero value allows any time.
type Before struct {
	// At is the latest time.
	At time.Time
	// Exclusive excludes At itself.
	Exclusive bool
}

// Allows reports whether a Snapshot of time t is early enough.
func (m Before) Allows(t time.Time) bool {
	return m.At.IsZero() || t.Before(m.At) || !m.Exclusive && t.Equal(m.At)
}

// Latest returns the newest successful Snapshot of a Repository that before allows and that is not known to be damaged,
// or nil, as now counts their times. damaged is the newest damaged one if that is newer. Of two with the same time, the
// one with the greater ID counts as newer. One whose time is still to come is older than all others.
func Latest(
	snapshots []v1alpha1.Snapshot, repository string, before Before, now time.Time,
) (best, damaged *v1alpha1.Snapshot) {
	var bestAt, damagedAt time.Time
	for i := range snapshots {
		s := &snapshots[i]
		if s.Spec.Repository != repository || !complete(s) {
			continue
		}
		at := s.MadeBy(now).Time
		switch whole := DamageOf(s, nil) == ""; {
		case !before.Allows(at):
		case whole && newer(s, best, at, bestAt, now):
			best, bestAt = s, at
		case !whole && newer(s, damaged, at, damagedAt, now):
			damaged, damagedAt = s, at
		}
	}
	if damaged != nil && best != nil && newer(best, damaged, bestAt, damagedAt, now) {
		damaged = nil
	}
	return best, damaged
}

// complete reports whether a Snapshot succeeded and stays.
func complete(s *v1alpha1.Snapshot) bool {
	return s.Status.Phase == v1alpha1.SnapshotSucceeded && s.DeletionTimestamp == nil &&
		s.Status.SnapshotTime != nil && !v1alpha1.HasRecordAnnotation(s.Annotations)
}

// newer reports whether s, made at a time, is newer than another Snapshot, or there is no other.
func newer(s, than *v1alpha1.Snapshot, at, thanAt, now time.Time) bool {
	return than == nil || cmp.Or(run.CompareTimes(at, thanAt, now),
		cmp.Compare(s.Spec.SnapshotID, than.Spec.SnapshotID)) > 0
}

// Limits of what HoldsLess tells.
const (
	maxFuller  = 3 // Snapshots
	maxLacking = 5 // components of each of them
)

// HoldsLess explains which Snapshots hold data of the target that chosen lacks, which nobody named: the newest good one
// of each other session, also of another BackupConfiguration, and the one before of its own. It returns "" if there is
// none. asks reports whether the restore asks for a component. The exclude patterns of a backup do not count: no
// Snapshot tells them.
func HoldsLess(
	chosen *v1alpha1.Snapshot, snapshots []v1alpha1.Snapshot, before Before, asks func(component string) bool,
	now time.Time,
) string {
	type dated struct {
		*v1alpha1.Snapshot
		at time.Time
	}
	newest := map[retention.Session]dated{}
	for i := range snapshots {
		s := &snapshots[i]
		if s.Name == chosen.Name || !policy.SameTarget(s.Spec.AppRef, chosen.Spec.AppRef) || !Good(s) {
			continue
		}
		at := s.MadeBy(now).Time
		if !before.Allows(at) {
			continue
		}
		// One that tells no BackupConfiguration can be of any: it counts if it is the newest of the session's name.
		for _, of := range []retention.Session{retention.SessionOf(s), {Name: s.Spec.Session}} {
			if last := newest[of]; newer(s, last.Snapshot, at, last.at, now) {
				newest[of] = dated{s, at}
			}
		}
	}
	maps.DeleteFunc(newest, func(of retention.Session, s dated) bool { return of != retention.SessionOf(s.Snapshot) })
	sessions := append(slices.Collect(maps.Keys(newest)), retention.SessionOf(chosen))
	var fuller []string
	for _, s := range slices.SortedFunc(maps.Values(newest), func(a, b dated) int {
		return cmp.Or(run.CompareTimes(b.at, a.at, now), cmp.Compare(b.Name, a.Name))
	}) {
		if lacking := lacks(chosen, s.Snapshot, asks); len(lacking) > 0 {
			fuller = append(fuller, fmt.Sprintf("Snapshot %s of %s, which has %s", s.Name,
				retention.SessionOf(s.Snapshot).Among(sessions),
				strings.Join(firstOf(lacking, maxLacking, "more"), ", ")))
		}
	}
	if len(fuller) == 0 {
		return ""
	}
	return fmt.Sprintf("Snapshot %s holds less than %s", chosen.Name,
		strings.Join(firstOf(fuller, maxFuller, "others"), ", and less than "))
}

// lacks says what another Snapshot of the same target has and s has not, in the order of the components.
func lacks(s, other *v1alpha1.Snapshot, asks func(component string) bool) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(other.Status.Components)) {
		theirs := other.Status.Components[name]
		c, there := s.Status.Components[name]
		switch {
		case !asks(name), there && holds(c.Path, theirs.Path), !there && hasVolumeOf(s, name, theirs.Path):
		case there:
			out = append(out, fmt.Sprintf("more of component %s than directory %q", name, c.Path))
		default:
			out = append(out, "component "+name)
		}
	}
	return out
}

// holds reports whether the directory of a component holds another one. Empty means the whole volume.
func holds(dir, other string) bool {
	return dir == "" || dir == other || strings.HasPrefix(other, dir+"/")
}

// hasVolumeOf reports whether a Snapshot has the directory of a volume of a pod or node. Its component has the name of
// the volume only if several volumes of the pod were backed up: one session can have pod-0, and another one pod-0-data.
func hasVolumeOf(s *v1alpha1.Snapshot, host, dir string) bool {
	switch s.Spec.AppRef.Kind {
	case v1alpha1.KindStatefulSet:
		if host != "pod-"+destination.PodOrdinal(host) {
			return false
		}
	case v1alpha1.KindDaemonSet:
	default:
		return false
	}
	for name, c := range s.Status.Components {
		if strings.HasPrefix(name, host+"-") && holds(c.Path, dir) {
			return true
		}
	}
	return false
}

// firstOf returns the first elements of a list, and rest for what is left of it.
func firstOf(list []string, limit int, rest string) []string {
	if len(list) <= limit {
		return list
	}
	return append(slices.Clone(list[:limit]), rest)
}
