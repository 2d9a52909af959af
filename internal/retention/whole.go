package retention

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// KeepWhole keeps the newest restore point whose Snapshots all succeeded: runs that failed for one target each must not
// push it out together. It can be older than the newest success of each Repository.
const KeepWhole = "newest whole restore point"

// restorePoint is what the decision knows of a restore point.
type restorePoint struct {
	name string
	// since is the time of its first Snapshot: a later retry does not make a point newer.
	since time.Time
	// covered says for each of its Repositories whether it has a success there.
	covered map[string]bool
}

// keepWholePoints keeps the newest whole restore points, once among all and once among those that are sound.
func keepWholePoints(verdicts []Verdict, now time.Time) {
	kept := map[string]string{}
	for _, of := range []string{notDamaged, ""} {
		counts := func(v *Verdict) bool { return v.Phase == v1alpha1.SnapshotSucceeded && (of == "" || v.sound(now)) }
		for _, name := range newestWhole(wholePoints(verdicts, counts)) {
			kept[name] = of
		}
	}
	for i := range verdicts {
		v := &verdicts[i]
		if of, ok := kept[v.Point]; ok && v.Point != "" {
			v.Kept = append(v.Kept, Keep{KeepWhole, of})
			v.Until = time.Time{}
		}
	}
}

// wholePoints returns the restore points that have a success in each of their Repositories, the newest first. counts
// reports whether a Snapshot is a success.
func wholePoints(verdicts []Verdict, counts func(*Verdict) bool) []*restorePoint {
	points := map[string]*restorePoint{}
	var out []*restorePoint
	for i := range verdicts {
		v := &verdicts[i]
		if v.Point == "" {
			continue
		}
		p := points[v.Point]
		if p == nil {
			p = &restorePoint{name: v.Point, covered: map[string]bool{}}
			points[v.Point] = p
			out = append(out, p)
		}
		p.since = v.Time // the verdicts come newest first
		p.covered[v.Repository] = p.covered[v.Repository] || counts(v)
	}
	out = slices.DeleteFunc(out, func(p *restorePoint) bool {
		for _, success := range p.covered {
			if !success {
				return true
			}
		}
		return false
	})
	slices.SortFunc(out, func(a, b *restorePoint) int {
		return cmp.Or(b.since.Compare(a.since), cmp.Compare(b.name, a.name))
	})
	return out
}

// newestWhole returns the names of the restore points that must stay, of whole ones that come newest first: the newest,
// and an older one if it covers more Repositories. A target that a run could not look at, or did not come to, has no
// Snapshot, so that the run looks whole without it. Sessions that share no Repository do not compare.
func newestWhole(points []*restorePoint) []string {
	group := map[string]string{}
	find := func(repository string) string {
		for group[repository] != "" {
			repository = group[repository]
		}
		return repository
	}
	for _, p := range points {
		first := ""
		for repository := range p.covered {
			root := find(repository)
			if first == "" {
				first = root
			}
			if root != first {
				group[root] = first
			}
		}
	}
	var names []string
	most := map[string]int{}
	for _, p := range points {
		for repository := range p.covered { // all are of one group
			if root := find(repository); len(p.covered) > most[root] {
				most[root] = len(p.covered)
				names = append(names, p.name)
			}
			break
		}
	}
	return names
}
