package restore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/workload"
)

// DamageOf says what is known to be missing from components of a Snapshot, or from all of them if components is empty.
// It returns "" if nothing is known. The last check of the repository, or of the VolumeSnapshots, found that out.
func DamageOf(s *v1alpha1.Snapshot, components []string) string {
	all := slices.Sorted(maps.Keys(s.Status.Components))
	gone := func(name string) bool { return v1alpha1.Damaged(s.Status.Components[name].Integrity) }
	var damaged []string
	for _, name := range all {
		if gone(name) && (len(components) == 0 || slices.Contains(components, name)) {
			damaged = append(damaged, name)
		}
	}
	switch {
	case len(damaged) > 0:
		return "data of its components is gone: " + strings.Join(damaged, ", ")
	case v1alpha1.Damaged(s.Status.Integrity) && !slices.ContainsFunc(all, gone):
		return "its integrity is false: data is gone"
	default:
		return ""
	}
}

// DamageRefusal explains why a Snapshot that is named must not be restored without consent. It returns nil if nothing
// is known to be wrong, or if source consents.
func DamageRefusal(s *v1alpha1.Snapshot, source *v1alpha1.RestoreDataSource) *v1alpha1.ResolvedError {
	damage := DamageOf(s, source.Components)
	if damage == "" || source.AllowDamaged {
		return nil
	}
	return workload.Fail(v1alpha1.ReasonSnapshotDamaged,
		"Snapshot %s can't be restored as a whole: %s. Name another Snapshot, or the components that are whole, "+
			"or create another restore with dataSource.allowDamaged (cairn restore --allow-damaged) to restore what "+
			"is left",
		s.Name, damage)
}

// DeletionRefusal explains why a Snapshot that is being deleted must not be restored without consent: its data can be
// gone before the restore ends. With held, the data has been kept for the restore since before the deletion: then only
// a removal that has begun all the same counts. The last whole Snapshot that retention let go (LastSuccess) counts
// as held. It returns nil for any other Snapshot, or if source consents.
func DeletionRefusal(s *v1alpha1.Snapshot, source *v1alpha1.RestoreDataSource, held bool) *v1alpha1.ResolvedError {
	began := retention.RemovalBegan(s.Status.Conditions)
	held = held || StaysAsLast(s)
	if source.AllowDamaged || !began && (held || s.DeletionTimestamp == nil) {
		return nil
	}
	what := "its data can be gone before the restore ends"
	if began {
		what = "a part of its data can be gone already"
	}
	return workload.Fail(v1alpha1.ReasonSnapshotDamaged,
		"Snapshot %s is being deleted, and %s: name another Snapshot, or create another restore with "+
			"dataSource.allowDamaged (cairn restore --allow-damaged)", s.Name, what)
}

// StaysAsLast reports whether the data of a Snapshot stays because no other one is left whole, although retention has
// let it go.
func StaysAsLast(s *v1alpha1.Snapshot) bool {
	return conditions.GetReason(s, v1alpha1.ConditionWiped) == v1alpha1.ReasonLastSuccess
}

// LastWhole returns the newest of Snapshots that before allows and that stays as the last whole one, or nil. Several
// can stay until one is whole without a doubt: such a one comes first. now counts their times. Who asks for the latest
// does not get it.
func LastWhole(snapshots []v1alpha1.Snapshot, before Before, now time.Time) (last *v1alpha1.Snapshot) {
	var lastAt time.Time
	for i := range snapshots {
		s := &snapshots[i]
		if !StaysAsLast(s) || !retention.Undamaged(s) || s.Status.SnapshotTime == nil ||
			v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		at := s.MadeBy(now).Time
		if !before.Allows(at) {
			continue
		}
		if last == nil || retention.Whole(s) && !retention.Whole(last) ||
			retention.Whole(s) == retention.Whole(last) && newer(s, last, at, lastAt, now) {
			last, lastAt = s, at
		}
	}
	return last
}

// LastWholeRefusal says how to restore what LastWhole has returned, and why it may not be whole. when limits the time
// in words, and damaged is the newest damaged Snapshot or nil.
func LastWholeRefusal(last, damaged *v1alpha1.Snapshot, when string, now time.Time) *v1alpha1.ResolvedError {
	reason := v1alpha1.ReasonSnapshotNotFound
	if damaged != nil {
		reason = v1alpha1.ReasonSnapshotDamaged
	}
	but := "but"
	if !retention.Whole(last) {
		but = "without a doubt. There is"
	}
	message := fmt.Sprintf("no Snapshot of Repository %s%s is left whole %s %s", last.Spec.Repository, when, but,
		stayMessage(last, now))
	if over := passedOverMessage(damaged, now); over != "" {
		message += ". " + over
	}
	return workload.Fail(reason, "%s", message)
}

// stayMessage names what LastWhole has returned, and its time, and says what StayMessage does.
func stayMessage(last *v1alpha1.Snapshot, now time.Time) string {
	return last.Name + " of " + last.MadeBy(now).UTC().Format(time.RFC3339) + ": " + StayMessage(last)
}

// StayMessage says of a Snapshot that stays as the last whole one until when it does, why it may not be whole, and how
// to restore it.
func StayMessage(s *v1alpha1.Snapshot) string {
	doubt, how := "", "(cairn restore --snapshot)"
	if !retention.Whole(s) {
		doubt = ". But " + cmp.Or(HalfRestoredOf(s), "no check has looked at it since a scan brought it back")
	}
	if retention.RemovalBegan(s.Status.Conditions) {
		how = "with dataSource.allowDamaged (cairn restore --allow-damaged): a part of its data can be gone already"
	}
	return fmt.Sprintf("retention has let it go, and its data stays until there is another whole one%s. To restore "+
		"it, pause the policy first, and name it in dataSource.snapshot of a RestoreSession %s", doubt, how)
}

// passedOverMessage says that a restore of the latest Snapshot does not take the newest one. It returns "" if it does.
func passedOverMessage(newer *v1alpha1.Snapshot, now time.Time) string {
	if newer == nil {
		return ""
	}
	return fmt.Sprintf("Snapshot %s of %s is newer, but damaged: %s. To restore what is left of it, create another "+
		"restore that names it in dataSource.snapshot with dataSource.allowDamaged (cairn restore --allow-damaged)",
		newer.Name, newer.MadeBy(now).UTC().Format(time.RFC3339), DamageOf(newer, nil))
}

// Spoiled reports whether a Snapshot succeeded and stays, but is known to be damaged: who asks for the latest does not
// get it.
func Spoiled(s *v1alpha1.Snapshot) bool { return complete(s) && DamageOf(s, nil) != "" }

// Good reports whether a Snapshot can take the place of another one without a doubt: it succeeded and stays, nothing
// tells that it is damaged, and it was not made of what a restore had left half written.
func Good(s *v1alpha1.Snapshot) bool {
	return complete(s) && DamageOf(s, nil) == "" && HalfRestoredOf(s) == ""
}
