package keeper

import (
	"maps"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
)

// Work is what a keeper does, or did, in one Repository.
type Work struct {
	// Repository is nil if it no longer exists.
	Repository *v1alpha1.Repository
	// Snapshots are the deleted Snapshots whose data is removed.
	Snapshots []*v1alpha1.Snapshot
	// Wipe removes the whole directory.
	Wipe bool
	// Maintain is the maintenance that is due, and Check are the components that it checks.
	Maintain task.Maintenance
	Check    []task.Checked
	// Witnesses are what the repository must hold for removals and maintenance: see task.Keep.
	Witnesses []task.Witness
	// Checks reports that a check belongs to the work, as it does to a full maintenance. There can be nothing to check.
	Checks bool
	// Scan is the request for a scan, or "".
	Scan string
	// Began is when the Job that does the work was created.
	Began metav1.Time
	// OnlyCheck means that the Job had nothing to do but this check.
	OnlyCheck bool
	// OOMKilled means that the kernel killed the mover of the Job for its memory, and there is no Result.
	OOMKilled bool

	// removesFirst lets removals take the room of checks: it changes with each failure in a row.
	removesFirst bool
}

// The limits of one Job: its task must fit into an annotation.
const (
	maxRepositories = 16
	maxSnapshots    = 500
	maxBytes        = 100 << 10
)

// WorkIn returns the work that is due in a Repository, or nil, and the time to ask again if nothing changes; zero means
// never. snapshots are the deleted Snapshots of the Repository whose data can be removed now. The work lacks the
// components to check.
func WorkIn(repository *v1alpha1.Repository, snapshots []*v1alpha1.Snapshot, now time.Time) (*Work, time.Time) {
	switch {
	case !Works(repository):
		return nil, time.Time{}
	case !repository.DeletionTimestamp.IsZero():
		return &Work{Repository: repository, Wipe: true}, time.Time{}
	}
	scan := ScanOf(repository)
	if repository.Spec.Paused {
		return &Work{Repository: repository, Scan: scan}, time.Time{}
	}
	slices.SortFunc(snapshots, func(a, b *v1alpha1.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	maintain, next := due(StateOf(repository), now)
	if repository.Status.GoneTime != nil {
		maintain = "" // The init Job that finds it again comes first.
	}
	if len(snapshots) == 0 && maintain == "" && scan == "" {
		return nil, next
	}
	return &Work{
		Repository: repository, Snapshots: snapshots, Maintain: maintain, Checks: maintain == task.MaintainFull,
		Scan: scan,
	}, next
}

// Works reports whether a keeper can have work in a Repository: the Repository is initialised and not paused, or its
// directory is to be wiped, or somebody asked for a scan.
func Works(r *v1alpha1.Repository) bool {
	switch {
	case v1alpha1.HasRecordAnnotation(r.Annotations), r.Status.InitializedSpec == "":
		return false
	case !r.DeletionTimestamp.IsZero():
		return wipes(r)
	}
	return !r.Spec.Paused || ScanOf(r) != ""
}

// wipes reports whether the Repository's controller has decided to wipe the directory.
func wipes(r *v1alpha1.Repository) bool {
	c := apimeta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionWiped)
	return r.Spec.DeletionPolicy == v1alpha1.WipeOut && slices.Contains(r.Finalizers, v1alpha1.FinalizerWipe) &&
		!retention.IsGivenUp(r) && c != nil && c.Status != metav1.ConditionTrue &&
		c.Reason != v1alpha1.ReasonInUse
}

// Removes reports whether a keeper removes the data of a Snapshot.
func Removes(s *v1alpha1.Snapshot) bool {
	return !s.DeletionTimestamp.IsZero() && s.Spec.DeletionPolicy == v1alpha1.WipeOut &&
		!v1alpha1.HasRecordAnnotation(s.Annotations) && slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe) &&
		!retention.IsGivenUp(s)
}

// StateOf returns the state of the Repository's maintenance.
func StateOf(r *v1alpha1.Repository) State {
	s := State{
		Identity: string(r.UID), Created: r.CreationTimestamp.Time,
		Unsound: v1alpha1.Damaged(r.Status.Integrity) || retention.Moved(r) ||
			apimeta.IsStatusConditionFalse(r.Status.Conditions, v1alpha1.ConditionChecked),
	}
	if t := r.Status.LastBackupTime; t != nil {
		s.Changed = t.Time
	}
	// LastBackupTime tells of no backup that a clock which was ahead has dated, but it has changed the repository.
	for i := range r.Status.RecentSnapshots {
		recent := &r.Status.RecentSnapshots[i]
		if t := recent.SnapshotTime; recent.Phase == v1alpha1.SnapshotSucceeded && t != nil && t.After(s.Changed) {
			s.Changed = t.Time
		}
	}
	if t := r.Status.LastRemovalTime; t != nil && t.After(s.Changed) {
		s.Changed = t.Time
	}
	// A check must look at what a scan has made, also in a repository that nothing changes any more.
	if scan := r.Status.LastScan; scan != nil && scan.Rebuilt > 0 && scan.Time.After(s.Changed) {
		s.Changed = scan.Time.Time
	}
	if m := r.Status.LastMaintenance; m != nil {
		if m.Quick != nil {
			s.Quick = m.Quick.Time
		}
		if m.Full != nil {
			s.Full = m.Full.Time
		}
	}
	return s
}

// CheckFirst adds the components that a full maintenance checks, of these Snapshots. While a part of the repository can
// be missing, the check comes alone, and the maintenance once it finds all intact. Where there is nothing to check,
// there is nothing to wait for. The same holds where each Snapshot is damaged: nobody may have seen that the directory
// was gone, and a backup that succeeds ends that. Once each Snapshot was looked at, and some are damaged, a look a day
// is enough: CheckFirst returns when the next one is due, or zero.
func (w *Work) CheckFirst(snapshots []*v1alpha1.Snapshot, met Met, now time.Time) (next time.Time) {
	w.Check = ToCheck(snapshots, met, now)
	if len(w.Check) == 0 || !retention.Unsettled(w.Repository, now) && !allDamaged(snapshots) {
		return time.Time{}
	}
	w.Maintain = ""
	if _, held := retention.Held(w.Repository, now); held {
		return time.Time{}
	}
	for _, s := range snapshots {
		if at := s.Status.LastCheckTime; at != nil && !isAhead(at.Time, now) {
			next = v1alpha1.Later(next, at.Add(quickEvery))
		}
	}
	if !now.Before(next) {
		return time.Time{}
	}
	w.Check, w.Checks = nil, false
	return next
}

// allDamaged reports whether each successful Snapshot is damaged.
func allDamaged(snapshots []*v1alpha1.Snapshot) bool {
	return !slices.ContainsFunc(snapshots, func(s *v1alpha1.Snapshot) bool {
		return retention.Undamaged(s)
	})
}

// Removed returns the removals in the form of a keeper's task.
func (w *Work) Removed() []task.Removed {
	var out []task.Removed
	for _, s := range w.Snapshots {
		out = append(out, task.Removed{
			Name: s.Name, UID: s.UID, IDs: idsOf(s), SnapshotID: s.Spec.SnapshotID,
			BackupSession: s.Spec.BackupSession, Rebuilt: rebuiltOf(s),
		})
	}
	return out
}

func idsOf(s *v1alpha1.Snapshot) []string {
	var ids []string
	for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
		if id := s.Status.Components[name].ID; id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// Empty reports whether there is nothing to do.
func (w *Work) Empty() bool {
	return !w.Removes() && w.Maintain == "" && !w.Checks && w.Scan == ""
}

// Removes reports whether the work removes data.
func (w *Work) Removes() bool { return w.Wipe || len(w.Snapshots) > 0 }

// limitToJob returns as much of the work as fits into one Job. A check without room is left to the next Job, and the
// full maintenance with it: a check of nothing would find everything intact.
func limitToJob(all []Work) []Work {
	var out []Work
	scanned, left := false, roomFor(all)
	for _, w := range all {
		if len(out) == maxRepositories {
			break
		}
		if scanned {
			w.Scan = "" // The next Job does it.
		}
		w.Snapshots = left.removals(w.Snapshots, w.removesFirst)
		if asked := len(w.Check); asked > 0 {
			if w.Check = left.checks(w.Check); len(w.Check) == 0 {
				w.Maintain, w.Checks = "", false
			}
		}
		scanned = scanned || w.Scan != ""
		if !w.Empty() {
			out = append(out, w)
		}
	}
	return out
}

// Maintained writes the times and sizes of successful work at a time to the status of its Repository.
func (w *Work) Maintained(status *v1alpha1.RepositoryStatus, stored int64, at metav1.Time) {
	if len(w.Snapshots) > 0 {
		status.LastRemovalTime = &at
	}
	if w.Maintain == "" {
		return
	}
	done := v1alpha1.MaintenanceStatus{Quick: &at}
	if m := status.LastMaintenance; m != nil {
		done.Full = m.Full
	}
	if w.Maintain == task.MaintainFull {
		done.Full = &at
	}
	status.LastMaintenance, status.StoredBytes, status.Size = &done, &stored, task.FormatSize(stored)
}

// Checked writes the result of a check to the status of the Repository. whole reports whether it found the repository
// intact; nil means unknown.
func (w *Work) Checked(status *v1alpha1.RepositoryStatus, whole *bool) {
	if whole != nil {
		status.Integrity = whole
	}
}
