package keeper

import (
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// room counts what is used of the limits of one Job.
type room struct {
	// bytes are used of maxBytes; removed are those of removals among them. snapshots are used of maxSnapshots.
	bytes, removed, snapshots int
	// shared reports that removals leave half of the bytes to checks: removals that fail each time must not put off a
	// check for ever.
	shared bool
}

// roomFor returns the empty room of a Job for this work.
func roomFor(all []Work) *room {
	return &room{shared: slices.ContainsFunc(all, func(w Work) bool { return len(w.Check) > 0 })}
}

// removals returns those of the removals that fit. One that is too large for any Job gets a Job of its own. first
// reports that they go before checks now: a check that fails each time must not put off a large removal for ever.
func (r *room) removals(snapshots []*v1alpha1.Snapshot, first bool) []*v1alpha1.Snapshot {
	limit, alone := maxBytes, true
	if r.shared && !first {
		limit, alone = maxBytes/2, false
	}
	var out []*v1alpha1.Snapshot
	for _, s := range snapshots {
		if r.snapshots == maxSnapshots || r.bytes >= maxBytes {
			break
		}
		size := len(s.Name) + len(s.Spec.SnapshotID) + len(s.Spec.BackupSession) + len(rebuiltOf(s)) + 128
		for _, id := range idsOf(s) {
			size += len(id) + 3
		}
		if fits := r.bytes+size <= maxBytes && r.removed+size <= limit; !fits && (r.bytes > 0 || !alone) {
			continue // The smaller ones behind it need not wait for it.
		}
		r.snapshots, r.bytes, r.removed = r.snapshots+1, r.bytes+size, r.removed+size
		out = append(out, s)
	}
	return out
}

// checks returns as many of the components as fit.
func (r *room) checks(components []task.Checked) []task.Checked {
	for i, c := range components {
		size := len(c.Snapshot) + len(c.Component) + len(c.ID) + 96
		if r.bytes+size > maxBytes {
			return components[:i]
		}
		r.bytes += size
	}
	return components
}
