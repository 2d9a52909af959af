package restorebatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/workload"
)

// ChooseSnapshots returns the Snapshots that a RestoreBatch restores, by target. They belong to one restore point
// unless the spec asks for a mix. The list can hold Snapshots of other BackupBatches. The result does not depend on the
// order of the list. now counts their times.
//
// What was made of a half restored target is restored only if its restore point is named: whether the target was put in
// order since, only its owner knows.
func ChooseSnapshots(
	list []v1alpha1.Snapshot, spec *v1alpha1.RestoreBatchSpec, now time.Time,
) (map[string]*v1alpha1.Snapshot, *v1alpha1.ResolvedError) {
	chosen, refusal := chooseAmong(list, spec, now)
	if refusal != nil || isNamed(&spec.DataSource) {
		return chosen, refusal
	}
	for i := range spec.Targets {
		s := chosen[spec.Targets[i].Name]
		half := restore.HalfRestoredOf(s)
		if half == "" {
			continue
		}
		return nil, workload.Fail(v1alpha1.ReasonHalfRestored,
			"the newest restore point has Snapshot %s, but %s; %s",
			s.Name, half, fromBefore(restore.WithoutHalfRestored(list), spec, spec.Targets[i].Name, now))
	}
	return chosen, nil
}

// byName says what to do if the newest restore point is half restored.
const byName = ": name the restore point in dataSource.backupSession"

// fromBefore says what there is of a target besides what was made of half restored targets. list lacks those.
func fromBefore(list []v1alpha1.Snapshot, spec *v1alpha1.RestoreBatchSpec, target string, now time.Time) string {
	if before, refusal := chooseAmong(list, spec, now); refusal == nil {
		return "the newest from before is that of BackupSession " + retention.Point(before[target]) + byName
	}
	ofTarget := map[string][]v1alpha1.Snapshot{}
	for i := range list {
		if s := &list[i]; retention.OfBatch(s, &spec.DataSource) {
			name := wantedTarget(spec, s)
			ofTarget[name] = append(ofTarget[name], *s)
		}
	}
	var stay []string
	var first *v1alpha1.Snapshot
	for i := range spec.Targets {
		last := restore.LastWhole(ofTarget[spec.Targets[i].Name], momentOf(&spec.DataSource), now)
		if last != nil {
			stay, first = append(stay, last.Name), cmp.Or(first, last)
		}
	}
	if len(stay) == 0 {
		return "there is none from before" + byName
	}
	return fmt.Sprintf("no restore point from before is left, only single Snapshots (%s). Of %s: %s",
		text.FirstFew(stay), first.Name, restore.StayMessage(first))
}

// isNamed reports whether a data source names its restore point.
func isNamed(source *v1alpha1.RestoreBatchDataSource) bool {
	return source.PITR == nil && source.BackupSession != v1alpha1.LatestBackupSession
}

// ofNamed reports whether a Snapshot is of the run that a data source names, or of the restore point that it began.
func ofNamed(s *v1alpha1.Snapshot, source *v1alpha1.RestoreBatchDataSource) bool {
	return s.Spec.BackupSession == source.BackupSession || retention.Point(s) == source.BackupSession
}

// LacksNamed reports whether a data source names a run of which there is no Snapshot, neither a good one nor another.
func LacksNamed(list []v1alpha1.Snapshot, source *v1alpha1.RestoreBatchDataSource) bool {
	return isNamed(source) && !slices.ContainsFunc(list, func(s v1alpha1.Snapshot) bool {
		return retention.OfBatch(&s, source) && ofNamed(&s, source)
	})
}

// SnapshotsGone returns the refusal of a run that a data source names and of which there is no Snapshot. named is that
// run, or nil: if it made Snapshots, they have been deleted since.
func SnapshotsGone(
	refusal *v1alpha1.ResolvedError, source *v1alpha1.RestoreBatchDataSource, named *v1alpha1.BackupSession,
) *v1alpha1.ResolvedError {
	if named == nil || named.Spec.Invoker.Kind != v1alpha1.BackupBatchKind ||
		named.Spec.Invoker.Name != source.BackupBatch {
		return refusal
	}
	if len(named.Status.Snapshots) == 0 {
		return workload.Fail(refusal.Reason, "BackupSession %s made no Snapshot of BackupBatch %s", named.Name,
			source.BackupBatch)
	}
	return workload.Fail(refusal.Reason, "BackupSession %s made Snapshots of BackupBatch %s, but no Snapshot of it "+
		"exists any more: name another run (cairn get backupsessions)", named.Name, source.BackupBatch)
}

// HoldsLess explains which Snapshots hold more of a target than the one that ChooseSnapshots has chosen for it, as
// restore.HoldsLess does. It returns "" if there is none, or if the restore point is named.
func HoldsLess(
	list []v1alpha1.Snapshot, spec *v1alpha1.RestoreBatchSpec, chosen map[string]*v1alpha1.Snapshot, now time.Time,
) string {
	source := &spec.DataSource
	if isNamed(source) {
		return ""
	}
	others := map[string][]v1alpha1.Snapshot{}
	for i := range list {
		s := &list[i]
		target := ""
		if retention.OfBatch(s, source) {
			target = wantedTarget(spec, s)
		}
		if target != "" && retention.Point(s) != retention.Point(chosen[target]) {
			others[target] = append(others[target], *s)
		}
	}
	var out []string
	for i := range spec.Targets {
		t := &spec.Targets[i]
		if less := restore.HoldsLess(chosen[t.Name], others[t.Name], momentOf(source),
			restore.Asks(t.Components, t.Rules), now); less != "" {
			out = append(out, "target "+t.Name+": "+less)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "not all targets get all that other restore points hold of them: if you miss something, create another " +
		"RestoreBatch that names a session in dataSource.session, or a restore point in dataSource.backupSession; " +
		strings.Join(out, "; ")
}
