package rebuilt

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// Order knows in which order the backups of each session were made. Their slots come from the manager's clock, and the
// times of the movers from many clocks. One that was ahead for hours would make its backup the newest of its session,
// and retention would let better ones go. A run that only took longer than the next one keeps its time.
//
// See must see each Snapshot that a scan found before Snapshot gets one of them. The zero value knows nothing. An Order
// is not safe for concurrent use.
type Order struct {
	runs   map[session][]dated
	sorted bool
	before map[string]bounded // by snapshotID
}

// bounded is a backup whose clock was ahead if it says a time that is not before that of a later one.
type bounded struct {
	by, guess time.Time // guess is before by
}

// session is what the labels of a Snapshot say of its session.
type session struct{ kind, invoker, name string }

type dated struct {
	id       string
	slot, at time.Time
	took     time.Duration
	// late says that it ended longer after its slot than it took: it began late, or its clock was ahead.
	late bool
}

// See notes a Snapshot that a scan found, if a part of it succeeded.
func (o *Order) See(f task.Found, now time.Time) {
	slot, ok := v1alpha1.SnapshotIDTime(f.Spec.SnapshotID)
	succeeded := func(c v1alpha1.Component) bool { return c.Phase == v1alpha1.SnapshotSucceeded }
	if !ok || !slices.ContainsFunc(slices.Collect(maps.Values(f.Components)), succeeded) {
		return
	}
	if o.runs == nil {
		o.runs, o.before = map[session][]dated{}, map[string]bounded{}
	}
	at := madeAt(f.Spec.SnapshotID, f.Components, now).Time
	if at.Before(slot) {
		at = slot
	}
	_, took := spent(f.Components)
	late := at.Sub(slot)-took > v1alpha1.ClockTolerance
	of := session{f.Labels[v1alpha1.LabelInvokerKind], f.Labels[v1alpha1.LabelInvokerName], f.Spec.Session}
	o.runs[of], o.sorted = append(o.runs[of], dated{f.Spec.SnapshotID, slot, at, took, late}), false
}

// limit returns a time, or an earlier one if the backup would else be newer than a later one of its session.
func (o *Order) limit(snapshotID string, at *metav1.Time) *metav1.Time {
	if !o.sorted {
		o.sort()
	}
	if b, ok := o.before[snapshotID]; ok && at != nil && !at.Time.Before(b.by) {
		limited := metav1.NewTime(b.guess).Rfc3339Copy()
		return &limited
	}
	return at
}

func (o *Order) sort() {
	o.sorted = true
	for _, runs := range o.runs {
		slices.SortStableFunc(runs, func(a, b dated) int { return a.slot.Compare(b.slot) })
		var bound, least time.Time // by the later slots, and by all runs so far
		for i := len(runs) - 1; i >= 0; i-- {
			this := &runs[i]
			if i+1 < len(runs) && this.slot.Before(runs[i+1].slot) {
				bound = least
			}
			if !bound.IsZero() && this.late {
				b := bounded{bound, bound.Add(-time.Second)}
				// Such a run began when it should, as far as anybody knows: a rule for hours or days needs its own.
				if ended := this.slot.Add(this.took); ended.Before(b.guess) {
					b.guess = ended
				}
				if o.before[this.id] = b; !this.at.Before(bound) {
					this.at = b.guess
				}
			}
			if least.IsZero() || this.at.Before(least) {
				least = this.at
			}
		}
	}
}
