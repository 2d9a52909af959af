package v1alpha1

import (
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MadeAt returns when the Snapshot was made, by the clocks of the manager and the API server. It returns nil if the
// Snapshot has no snapshotTime. A mover takes its times from the clock of its node, which can be wrong: a snapshotTime
// before the run began, or after Cairn wrote that the Snapshot was complete, counts as that moment. The clock of the
// manager can have been wrong too: ByServer says when that of the API server counts instead. Use MadeAt wherever the
// time of a Snapshot decides something.
func (s *Snapshot) MadeAt() *metav1.Time {
	if s.Status.SnapshotTime == nil {
		return nil
	}
	earliest, latest := s.began(), s.completed()
	created := s.CreationTimestamp.Time
	if slot, ok := SnapshotIDTime(s.Spec.SnapshotID); ok && !s.Rebuilt() && contradicts(created, slot, latest) {
		if at, decides := ByServer(s.said(), slot, latest, created); decides {
			return &metav1.Time{Time: at}
		}
	}
	switch at := s.Status.SnapshotTime.Time; {
	case !latest.IsZero() && at.After(latest):
		return &metav1.Time{Time: latest}
	case !earliest.IsZero() && at.Before(earliest):
		return &metav1.Time{Time: earliest}
	}
	return s.Status.SnapshotTime.DeepCopy()
}

// MadeBy returns MadeAt for a decision of now. A time that is still to come is of a clock that was ahead: it counts as
// the creationTimestamp of the object, if at least that has passed.
func (s *Snapshot) MadeBy(now time.Time) *metav1.Time {
	at := s.MadeAt()
	if at != nil {
		if happened := Happened(at.Time, s.CreationTimestamp.Time, now); !happened.IsZero() {
			return &metav1.Time{Time: happened}
		}
	}
	return at
}

// PassedBy returns MadeBy, or nil if also that is still to come at now. Whoever reports the last backup must use it: an
// alert on its age would be silent until then.
func (s *Snapshot) PassedBy(now time.Time) *metav1.Time {
	if at := s.MadeBy(now); at != nil && !Ahead(at.Time, now) {
		return at
	}
	return nil
}

// ByServer returns when a backup ended, and whether the clock of the API server decides that. Three clocks tell it:
// said is what the mover said, or zero; began and ended are the manager's times, and the API server created the
// Snapshot in between. If the last two contradict each other, the one wins with which the mover agrees. A run that
// began after its Snapshot was there is of a manager's clock that was ahead, and needs no mover to say so. One that
// ended before that can also be of a Snapshot that was brought into another cluster.
func ByServer(said, began, ended, created time.Time) (at time.Time, decides bool) {
	if !contradicts(created, began, ended) || about(said, began, ended) {
		return time.Time{}, false
	}
	latest := created.Add(ended.Sub(began))
	if ended.Before(began) { // The manager's clock was put right meanwhile.
		latest = created
		if ended.After(created) {
			latest = ended
		}
	}
	switch {
	case began.Sub(created) <= ClockTolerance && !about(said, created, latest):
		return time.Time{}, false
	case said.Before(created):
		return created, true
	case said.After(latest):
		return latest, true
	}
	return said, true
}

// contradicts reports whether the API server created a Snapshot at another time than during a run of the manager's
// clock.
func contradicts(created, began, ended time.Time) bool {
	return !created.IsZero() && (began.Sub(created) > ClockTolerance ||
		!ended.IsZero() && created.Sub(ended) > ClockTolerance)
}

// about reports whether a time lies between two others, as far as clocks are allowed to differ.
func about(at, from, to time.Time) bool {
	return from.Sub(at) <= ClockTolerance && at.Sub(to) <= ClockTolerance
}

// said returns when the last mover said that it was done, or zero.
func (s *Snapshot) said() time.Time {
	var last time.Time
	for _, c := range s.Status.Components {
		if c.Phase == SnapshotSucceeded && c.CompletionTime != nil && c.CompletionTime.After(last) {
			last = c.CompletionTime.Time
		}
	}
	return last
}

// Rebuilt reports whether a scan made the object: its creationTimestamp is that of the scan.
func (s *Snapshot) Rebuilt() bool { return s.Annotations[AnnotationRebuilt] != "" }

// began returns a time at or before the start of the run, or zero if nothing tells it. The snapshotID holds the slot of
// the run. A Snapshot that was brought into another cluster has a later creationTimestamp.
func (s *Snapshot) began() time.Time {
	slot, ok := SnapshotIDTime(s.Spec.SnapshotID)
	if !ok {
		return time.Time{}
	}
	if created := s.CreationTimestamp.Time; !created.IsZero() && created.Before(slot) {
		if s.Rebuilt() { // The clock of the manager was ahead, and the scan came after the run.
			return time.Time{}
		}
		return created
	}
	return slot
}

// completed returns when Cairn wrote that the Snapshot was complete, or zero if nothing tells it.
func (s *Snapshot) completed() time.Time {
	var out time.Time
	if t := s.Status.LastUpdateTime; t != nil {
		out = t.Time
	}
	for i := range s.Status.Conditions {
		c := &s.Status.Conditions[i]
		if c.Type == meta.ReadyCondition && c.Status == metav1.ConditionTrue && !c.LastTransitionTime.IsZero() &&
			(out.IsZero() || c.LastTransitionTime.Time.Before(out)) {
			out = c.LastTransitionTime.Time
		}
	}
	if out.Before(s.began()) {
		return time.Time{}
	}
	return out
}

// SnapshotIDAlphabet is the alphabet of a snapshotID: base 32 without I, L, O and U, sorted by byte.
const SnapshotIDAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	// idLength is the length of a snapshotID. It begins with idTimeLength characters for the time in milliseconds.
	idLength     = 26
	idTimeLength = 10
)

// SnapshotIDTime returns the time that a snapshotID begins with: the slot of the run. An ID that is no ULID has none.
func SnapshotIDTime(id string) (time.Time, bool) {
	if len(id) != idLength {
		return time.Time{}, false
	}
	var ms int64
	for i := range idTimeLength {
		digit := strings.IndexByte(SnapshotIDAlphabet, id[i])
		if digit < 0 {
			return time.Time{}, false
		}
		ms = ms<<5 | int64(digit)
	}
	return time.UnixMilli(ms), ms < 1<<48
}
