package retention

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// notice is how long a new or changed default RetentionPolicy removes nothing from a Repository: whoever made the
// backups may not know that somebody created a default.
const notice = 24 * time.Hour

// LetsGo reports whether the policy lets Snapshots of a Repository go, now or once nothing holds them for a while: a
// restore that can read them, a pause, a scan that made them, or a run of their restore point that has not ended and
// can fail.
func (p Policy) LetsGo(snapshots []Snapshot, repository string, now time.Time) bool {
	unheld := slices.Clone(snapshots)
	for i := range unheld {
		s := &unheld[i]
		s.Held, s.Unchecked, s.Gathering = "", time.Time{}, time.Time{}
		if !s.Phase.Terminal() {
			s.Phase = v1alpha1.SnapshotFailed
		}
	}
	goes := func(v Verdict) bool { return v.Goes() && v.Repository == repository }
	return slices.ContainsFunc(p.Decide(snapshots, now), goes) ||
		slices.ContainsFunc(p.Decide(unheld, now), func(v Verdict) bool {
			return goes(v) && v.Phase == v1alpha1.SnapshotSucceeded
		})
}

// Introduce returns which default is in force for a Repository, for its status, and whether it is held. known is what
// the status says now, and ref names the default in full. A default that is new to the Repository in its current form,
// and that lets Snapshots go (letsGo), is held: nothing is removed before the status shows the date of the removal. So
// even a killed manager removes nothing without notice. doubt is asked before a notice begins, and says why the clock
// must not date it, or "": a clock that is behind for a minute would end the notice with that minute. Then known stays,
// and the default is held.
func Introduce(
	known *v1alpha1.DefaultRetention, ref v1alpha1.ObjectReference, policy *v1alpha1.RetentionPolicy,
	letsGo func() (bool, error), now time.Time, doubt func() (string, error),
) (inForce *v1alpha1.DefaultRetention, held bool, err error) {
	// A clock that was ahead can have written the date: then the notice begins anew.
	wrong := known != nil && known.RemovesAfter != nil && v1alpha1.Ahead(known.RemovesAfter.Time, now.Add(notice))
	if known == nil || wrong || known.Ref != ref || known.UID != policy.UID || known.Generation != policy.Generation {
		if why, err := doubt(); why != "" || err != nil {
			return known, true, err
		}
		goes, err := letsGo()
		if err != nil {
			return known, true, err
		}
		known = &v1alpha1.DefaultRetention{Ref: ref, UID: policy.UID, Generation: policy.Generation}
		if goes {
			known.RemovesAfter = new(metav1.NewTime(now.Add(notice)))
		}
	}
	return known, known.RemovesAfter != nil && now.Before(known.RemovesAfter.Time), nil
}
