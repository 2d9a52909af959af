package restorebatch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/workload"
)

// restorePoint holds the requested targets of one restore point.
type restorePoint struct {
	name, key string
	// now counts the times of the Snapshots.
	now       time.Time
	snapshots map[string]dated // by target
}

// chooseAmong chooses as ChooseSnapshots does, also what was made of half restored targets.
func chooseAmong(
	list []v1alpha1.Snapshot, spec *v1alpha1.RestoreBatchSpec, now time.Time,
) (map[string]*v1alpha1.Snapshot, *v1alpha1.ResolvedError) {
	source := &spec.DataSource
	named := isNamed(source)
	moment := momentOf(source)
	points, known := map[string]*restorePoint{}, map[string]bool{}
	keyOf := pointKeys(list, source)
	var damaged []string
	for i := range list {
		s := &list[i]
		if !retention.OfBatch(s, source) {
			continue
		}
		if named && ofNamed(s, source) {
			known[keyOf(s)] = true
		}
		target := wantedTarget(spec, s)
		if target == "" || s.Status.Phase != v1alpha1.SnapshotSucceeded || s.Status.SnapshotTime == nil {
			continue
		}
		made := dated{s, s.MadeBy(now).Time, now}
		if !moment.Allows(made.at) {
			continue
		}
		if damage := damageOf(s); damage != "" && !source.AllowDamaged {
			damaged = append(damaged, fmt.Sprintf("Snapshot %s: %s", s.Name, damage))
			continue
		}
		key := keyOf(s)
		point := points[key]
		if point == nil {
			point = &restorePoint{retention.Point(s), key, now, map[string]dated{}}
			points[key] = point
		}
		if before, ok := point.snapshots[target]; !ok || preferred(made, before) {
			point.snapshots[target] = made
		}
	}
	chosen, refusal := choose(points, known, named, spec)
	if refusal != nil && len(damaged) > 0 {
		slices.Sort(damaged)
		return nil, workload.Fail(v1alpha1.ReasonSnapshotDamaged,
			"%s. Damaged Snapshots do not count: %s. To restore what is left of them, name the restore point in "+
				"dataSource.backupSession with dataSource.allowDamaged (cairn restore --batch --allow-damaged)",
			refusal.Message, strings.Join(damaged[:min(len(damaged), maxDamaged)], "; "))
	}
	return chosen, refusal
}

// momentOf returns the time by which a data source wants its restore point.
func momentOf(source *v1alpha1.RestoreBatchDataSource) restore.Before {
	if source.PITR == nil || source.PITR.TargetTime == nil {
		return restore.Before{}
	}
	return restore.Before{At: source.PITR.TargetTime.Time, Exclusive: source.PITR.Exclusive}
}

// maxDamaged is how many damaged Snapshots a refusal names at most.
const maxDamaged = 5

// choose chooses among the restore points whose Snapshots can be restored.
func choose(
	points map[string]*restorePoint, known map[string]bool, named bool, spec *v1alpha1.RestoreBatchSpec,
) (map[string]*v1alpha1.Snapshot, *v1alpha1.ResolvedError) {
	all := slices.SortedFunc(maps.Values(points), newestPoint)
	switch {
	case spec.DataSource.Mixed:
		return mix(all, spec)
	case named:
		return pointOf(all, known, spec)
	default:
		return newestWhole(all, spec)
	}
}

// damageOf says why a Snapshot can't be restored as a whole, or returns "".
func damageOf(s *v1alpha1.Snapshot) string {
	switch {
	case s.DeletionTimestamp != nil && restore.StaysAsLast(s):
		return restore.StayMessage(s)
	case s.DeletionTimestamp != nil:
		return "it is being deleted"
	}
	return restore.DamageOf(s, nil)
}

// wantedTarget returns the target that a Snapshot belongs to, or "" if that target is not requested, or not from this
// Repository.
func wantedTarget(spec *v1alpha1.RestoreBatchSpec, s *v1alpha1.Snapshot) string {
	for i := range spec.Targets {
		t := &spec.Targets[i]
		child := policy.LabelValue(policy.ChildName(spec.DataSource.BackupBatch, t.Name))
		if s.Labels[v1alpha1.LabelConfiguration] == child && (t.Repository == "" || t.Repository == s.Spec.Repository) {
			return t.Name
		}
	}
	return ""
}

// since returns when the first Snapshot of the point was complete. A later retry does not make a point newer.
func (p *restorePoint) since() time.Time {
	var out time.Time
	for _, s := range p.snapshots {
		if t := s.at; out.IsZero() || t.Before(out) {
			out = t
		}
	}
	return out
}

// byTarget returns the Snapshots of the point by target.
func (p *restorePoint) byTarget() map[string]*v1alpha1.Snapshot {
	out := make(map[string]*v1alpha1.Snapshot, len(p.snapshots))
	for name, s := range p.snapshots {
		out[name] = s.Snapshot
	}
	return out
}

// newestPoint orders restore points, the newest first. Those whose time is still to come are the last.
func newestPoint(a, b *restorePoint) int {
	return cmp.Or(run.CompareTimes(b.since(), a.since(), a.now), cmp.Compare(b.key, a.key))
}

// missing returns the targets that a point lacks, in the order of the spec.
func (p *restorePoint) missing(spec *v1alpha1.RestoreBatchSpec) []string {
	var out []string
	for i := range spec.Targets {
		if p == nil || p.snapshots[spec.Targets[i].Name].Snapshot == nil {
			out = append(out, spec.Targets[i].Name)
		}
	}
	return out
}

// mix takes for each target the newest Snapshot of all points.
func mix(
	all []*restorePoint, spec *v1alpha1.RestoreBatchSpec,
) (map[string]*v1alpha1.Snapshot, *v1alpha1.ResolvedError) {
	out := &restorePoint{snapshots: map[string]dated{}}
	for _, p := range all {
		for name, s := range p.snapshots {
			if before, ok := out.snapshots[name]; !ok || newerSnapshot(s, before) > 0 {
				out.snapshots[name] = s
			}
		}
	}
	if missing := out.missing(spec); len(missing) > 0 {
		return nil, workload.Fail(v1alpha1.ReasonSnapshotNotFound,
			"BackupBatch %s has no successful Snapshot%s of target %s",
			spec.DataSource.BackupBatch, byWhen(spec), strings.Join(missing, ", "))
	}
	return out.byTarget(), nil
}

// pointOf returns the restore point that is named. known holds the keys of those that have the name, and all is sorted:
// among several the newest whole one wins, else the newest.
func pointOf(
	all []*restorePoint, known map[string]bool, spec *v1alpha1.RestoreBatchSpec,
) (map[string]*v1alpha1.Snapshot, *v1alpha1.ResolvedError) {
	source := &spec.DataSource
	if len(known) == 0 {
		return nil, workload.Fail(v1alpha1.ReasonSnapshotNotFound,
			"there is no Snapshot of BackupSession %s of BackupBatch %s", source.BackupSession, source.BackupBatch)
	}
	var chosen *restorePoint
	for _, p := range all {
		if known[p.key] && (chosen == nil || len(chosen.missing(spec)) > 0 && len(p.missing(spec)) == 0) {
			chosen = p
		}
	}
	if missing := chosen.missing(spec); len(missing) > 0 {
		return nil, workload.Fail(v1alpha1.ReasonSnapshotNotFound,
			"the restore point of BackupSession %s has no successful Snapshot of target %s: leave the target out, or "+
				"name another restore point",
			source.BackupSession, strings.Join(missing, ", "))
	}
	return chosen.byTarget(), nil
}

// newestWhole returns the newest restore point in which every target succeeded.
func newestWhole(
	all []*restorePoint, spec *v1alpha1.RestoreBatchSpec,
) (map[string]*v1alpha1.Snapshot, *v1alpha1.ResolvedError) {
	for _, p := range all {
		if len(p.missing(spec)) == 0 {
			return p.byTarget(), nil
		}
	}
	if len(all) == 0 {
		return nil, workload.Fail(v1alpha1.ReasonSnapshotNotFound,
			"BackupBatch %s has no successful Snapshot%s of any of these targets", spec.DataSource.BackupBatch,
			byWhen(spec))
	}
	return nil, workload.Fail(v1alpha1.ReasonSnapshotNotFound,
		"BackupBatch %s has no restore point%s in which all of these targets succeeded: the newest, of BackupSession "+
			"%s, lacks %s. Leave that target out, or ask for a mix of restore points with dataSource.mixed",
		spec.DataSource.BackupBatch, byWhen(spec), all[0].name, strings.Join(all[0].missing(spec), ", "))
}

func byWhen(spec *v1alpha1.RestoreBatchSpec) string {
	if p := spec.DataSource.PITR; p != nil && p.TargetTime != nil {
		return " by " + p.TargetTime.UTC().Format(time.RFC3339)
	}
	return ""
}
