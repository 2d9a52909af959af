package retention

import (
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Why nothing counts as checked any more.
const (
	WhyMoved     = "the BackupStorage or the path names another place now, where nothing was checked yet"
	WhyTakenBack = "the directory belonged to another Repository or cluster, and nothing was checked since"
	WhyCameBack  = "the repository was gone, and nothing was checked since it came back"
)

// Leave clears what was measured of a Repository in the place where it was before, or before it took its directory
// back, or was gone. What is known to be damaged counts as damaged until a check finds it intact: the data was most
// likely copied from there. at is the time of the move.
func Leave(r *v1alpha1.Repository, at metav1.Time, why string) {
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
	if why != WhyCameBack || status.MovedTime == nil {
		status.MovedTime, status.CheckTriedTime = &at, nil
	}
	// A storage that is away each night does not begin the wait anew, unless all was looked at meanwhile.
	if conditions.IsTrue(r, v1alpha1.ConditionChecked) {
		status.CheckTriedTime = nil
	}
	conditions.MarkUnknown(r, v1alpha1.ConditionChecked, v1alpha1.ReasonNotChecked, "%s", why)
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

// Moved reports whether a Repository has another place than before, where no check has looked at each Snapshot yet.
// Its own directory counts as another place once somebody else has had it.
func Moved(r *v1alpha1.Repository) bool {
	return r.Status.MovedTime != nil && !conditions.IsTrue(r, v1alpha1.ConditionChecked)
}

// damagedAfter is how long nothing is maintained where a check has found damage since the Repository moved, took its
// directory back or came back: somebody can still be copying its index, and maintenance removes what no index names.
const damagedAfter = 4 * 7 * 24 * time.Hour

// Unsettled reports whether maintenance must collect nothing in a Repository now, because its data can have come back
// in part: nobody has looked yet, or a check has found damage. Both have an end: data can be lost for good.
func Unsettled(r *v1alpha1.Repository, now time.Time) bool {
	if _, held := Held(r, now); held {
		return true
	}
	return v1alpha1.Damaged(r.Status.Integrity) && Damaging(r, now)
}

// Mistaken reports whether retention has let a Snapshot go for others of which a check has found some damaged since the
// Repository moved, took its directory back or came back: it can be the newest whole one. It waits as long as the
// maintenance. What retention lets go after that check goes.
func Mistaken(r *v1alpha1.Repository, s *v1alpha1.Snapshot, now time.Time) bool {
	gone := s.DeletionTimestamp
	return gone != nil && Marked(s) && !v1alpha1.Damaged(s.Status.Integrity) &&
		v1alpha1.Damaged(r.Status.Integrity) && Damaging(r, now) && !gone.After(r.Status.MovedTime.Time)
}

// Damaging reports whether damage that a check finds now can be of the move of a Repository. A time that is still to
// come says nothing: a clock was ahead.
func Damaging(r *v1alpha1.Repository, now time.Time) bool {
	moved := r.Status.MovedTime
	return moved != nil && !v1alpha1.Ahead(moved.Time, now) && now.Before(moved.Add(damagedAfter))
}

// Held reports whether nothing is removed because a Repository has moved, because its directory belongs to another
// one, or because it is gone. The end is not known, and until zero, before a check was tried there: the Repository can
// be paused, or its keeper refused. From then on it lasts as long as for a Snapshot that a scan made: checks can fail
// for ever, as those of one Snapshot that is too large.
func Held(r *v1alpha1.Repository, now time.Time) (until time.Time, held bool) {
	if policy.Lost(r) || r.Status.GoneTime != nil {
		return time.Time{}, true
	}
	if !Moved(r) {
		return time.Time{}, false
	}
	if r.Status.CheckTriedTime == nil {
		return time.Time{}, true
	}
	until = r.Status.CheckTriedTime.Add(checkedWithin)
	return until, now.Before(until)
}

// TriedCheck notes that a check which ended at a time has not looked at each Snapshot of a Repository that has moved.
// The first one counts. A time that is still to come is none: a clock was ahead.
func TriedCheck(r *v1alpha1.Repository, at metav1.Time) {
	if t := r.Status.CheckTriedTime; Moved(r) && (t == nil || t.After(at.Time)) {
		r.Status.CheckTriedTime = &at
	}
}

// ForgetMove notes that a Repository need not be checked any more because it has moved.
func ForgetMove(r *v1alpha1.Repository) { r.Status.MovedTime, r.Status.CheckTriedTime = nil, nil }

// MadeBeforeMove reports whether a Snapshot can lack data in the place that its Repository has moved to. One that a
// scan has made, or that came back, is younger than its data.
func MadeBeforeMove(r *v1alpha1.Repository, s *v1alpha1.Snapshot) bool {
	moved := r.Status.MovedTime
	return moved != nil && (!s.CreationTimestamp.After(moved.Time) || !TimeOf(s).After(moved.Time) ||
		s.Rebuilt())
}
