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
	// covered says for each of its targets, or Repositories, whether it has a success of it.
	covered map[string]bool
	// has names its targets and Repositories.
	has map[named]bool
	// compares names its targets, and the Repository of what does not tell its target: it compares with newer points
	// that have one of them.
	compares map[named]bool
}

// named is the name of a target or of a Repository.
type named struct{ target, repository string }

// keepWholePoints keeps the newest whole restore points of a session: those with a success in each Repository, and
// those from which each target can be restored, although one of its Repositories has failed. It keeps them once among
// all and once among those that are sound.
func keepWholePoints(verdicts []*Verdict, now time.Time) {
	kept := map[string]string{}
	for _, of := range []string{notDamaged, ""} {
		counts := func(v *Verdict) bool { return v.Phase == v1alpha1.SnapshotSucceeded && (of == "" || v.sound(now)) }
		for _, part := range []func(*Verdict) string{
			func(v *Verdict) string { return v.Repository },
			func(v *Verdict) string { return cmp.Or(v.Target, v.Repository) },
		} {
			for _, name := range newestWhole(wholePoints(verdicts, part, counts)) {
				kept[name] = of
			}
		}
	}
	for _, v := range verdicts {
		if of, ok := kept[v.Point]; ok && v.Point != "" {
			v.Kept = append(v.Kept, Keep{KeepWhole, of})
			v.Until = time.Time{}
		}
	}
}

// wholePoints returns the restore points that have a success of each of their parts, the newest first. part returns the
// part that a Snapshot belongs to, and counts reports whether the Snapshot is a success.
func wholePoints(verdicts []*Verdict, part func(*Verdict) string, counts func(*Verdict) bool) []*restorePoint {
	points := map[string]*restorePoint{}
	var out []*restorePoint
	for _, v := range verdicts {
		if v.Point == "" {
			continue
		}
		p := points[v.Point]
		if p == nil {
			p = &restorePoint{
				name: v.Point, covered: map[string]bool{}, has: map[named]bool{}, compares: map[named]bool{},
			}
			points[v.Point] = p
			out = append(out, p)
		}
		p.since = v.Time // the verdicts come newest first
		p.covered[part(v)] = p.covered[part(v)] || counts(v)
		repository, what := named{repository: v.Repository}, named{target: v.Target}
		if v.Target == "" {
			what = repository
		}
		p.has[repository], p.has[what], p.compares[what] = true, true, true
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

// newestWhole returns the names of the restore points that must stay, of whole ones that come newest first: each that
// covers more than any newer one with which it compares. A target that a run could not look at, or did not come to, has
// no Snapshot, so that the run looks whole without it. Points that share no target do not compare: batches that share
// Repositories can give their sessions one name.
func newestWhole(points []*restorePoint) []string {
	var names []string
	most := map[named]int{} // of the newer points that have a target or Repository
	for _, p := range points {
		covers := true
		for what := range p.compares {
			covers = covers && len(p.covered) > most[what]
		}
		for what := range p.has {
			most[what] = max(most[what], len(p.covered))
		}
		if covers {
			names = append(names, p.name)
		}
	}
	return names
}
