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

// removals returns as many of the removals as fit. One that is too large for any Job gets a Job of its own.
func (r *room) removals(snapshots []*v1alpha1.Snapshot) []*v1alpha1.Snapshot {
	limit := maxBytes
	if r.shared {
		limit /= 2
	}
	for i, s := range snapshots {
		size := len(s.Name) + 64
		for _, id := range idsOf(s) {
			size += len(id) + 3
		}
		fits := r.bytes+size <= maxBytes && r.removed+size <= limit || r.bytes == 0 && !r.shared
		if r.snapshots == maxSnapshots || !fits {
			return snapshots[:i]
		}
		r.snapshots, r.bytes, r.removed = r.snapshots+1, r.bytes+size, r.removed+size
	}
	return snapshots
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
