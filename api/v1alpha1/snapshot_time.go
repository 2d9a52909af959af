package v1alpha1

import (
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClockTolerance is how far clocks are allowed to differ before Cairn says so, or refuses to decide.
const ClockTolerance = 5 * time.Minute

// MadeAt returns when the Snapshot was made, by the clocks of the manager and the API server. It returns nil if the
// Snapshot has no snapshotTime. A mover takes its times from the clock of its node, which can be wrong: a snapshotTime
// before the run began, or after Cairn wrote that the Snapshot was complete, counts as that moment. Use MadeAt wherever
// the time of a Snapshot decides something.
func (s *Snapshot) MadeAt() *metav1.Time {
	if s.Status.SnapshotTime == nil {
		return nil
	}
	earliest, latest := s.began(), s.completed()
	switch at := s.Status.SnapshotTime.Time; {
	case !latest.IsZero() && at.After(latest):
		return &metav1.Time{Time: latest}
	case !earliest.IsZero() && at.Before(earliest):
		return &metav1.Time{Time: earliest}
	}
	return s.Status.SnapshotTime.DeepCopy()
}

// began returns a time at or before the start of the run, or zero if nothing tells it. The snapshotID holds the slot of
// the run. A Snapshot that was brought into another cluster has a later creationTimestamp.
func (s *Snapshot) began() time.Time {
	slot, ok := SnapshotIDTime(s.Spec.SnapshotID)
	if !ok {
		return time.Time{}
	}
	if created := s.CreationTimestamp.Time; !created.IsZero() && created.Before(slot) {
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
