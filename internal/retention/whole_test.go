package retention

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestWholeRestorePoints(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	hour := func(n int) time.Time { return now.Add(-time.Duration(n) * time.Hour) }
	p := Policy{Rules: []Rule{{ruleLast, 1}}, Zone: time.UTC}
	g := NewWithT(t)
	// db failed in the newest run. Its newest success is of run 2, so all of run 2 stays.
	verdicts := p.Decide([]Snapshot{
		{Name: "web-3", Repository: "web", Point: "3", Time: hour(1), Phase: good},
		{Name: "db-3", Repository: "db", Point: "3", Time: hour(1), Phase: bad},
		{Name: "web-2", Repository: "web", Point: "2", Time: hour(2), Phase: good},
		{Name: "db-2", Repository: "db", Point: "2", Time: hour(2), Phase: good},
		{Name: "web-1", Repository: "web", Point: "1", Time: hour(3), Phase: good},
		{Name: "db-1", Repository: "db", Point: "1", Time: hour(3), Phase: good},
	}, now)
	g.Expect(kept(verdicts)).To(Equal([]string{
		"web-3: newest success last", "db-3: restore point (web-3)",
		"web-2: newest whole restore point", "db-2: newest success last newest whole restore point",
	}))
}

// Runs that failed for one target each do not push out the last one in which all succeeded.
func TestTheLastWholeRestorePointStays(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	point := func(run int, repository string, phase v1alpha1.SnapshotPhase) Snapshot {
		return Snapshot{
			Name: fmt.Sprintf("%s-%d", repository, run), Repository: repository, Point: fmt.Sprint(run), Phase: phase,
			Time: now.Add(time.Duration(run-100) * time.Hour),
		}
	}
	damaged := func(s Snapshot) Snapshot { s.Damaged = true; return s }
	// twice adds a second Repository of each Snapshot's target, with this phase.
	twice := func(phase v1alpha1.SnapshotPhase, snapshots ...Snapshot) []Snapshot {
		var out []Snapshot
		for _, s := range snapshots {
			far := s
			s.Target, far.Target = s.Repository, s.Repository
			far.Name, far.Repository, far.Phase = "far-"+s.Name, "far-"+s.Repository, phase
			out = append(out, s, far)
		}
		return out
	}
	whole := []Snapshot{point(1, "web", good), point(1, "db", good)}
	partial := []Snapshot{
		point(2, "web", good), point(2, "db", bad), point(3, "web", bad), point(3, "db", good),
	}
	for name, c := range map[string]struct {
		snapshots, stay, goes []Snapshot
	}{
		"the newest success of each target is of another run": {
			snapshots: slices.Concat(whole, partial), stay: slices.Concat(whole, partial),
		},
		"a newer one is whole": {
			snapshots: slices.Concat(whole, partial, []Snapshot{point(4, "web", good), point(4, "db", good)}),
			stay:      []Snapshot{point(4, "web", good), point(4, "db", good)}, goes: slices.Concat(whole, partial),
		},
		"a target that could not be looked at has no Snapshot": {
			snapshots: slices.Concat(whole, []Snapshot{point(2, "web", good), point(3, "db", good)}),
			stay:      slices.Concat(whole, []Snapshot{point(2, "web", good), point(3, "db", good)}),
		},
		"a target that came later does not belong to it": {
			snapshots: slices.Concat(whole, partial, []Snapshot{point(2, "mail", good), point(3, "mail", bad)}),
			stay:      slices.Concat(whole, partial, []Snapshot{point(2, "mail", good), point(3, "mail", bad)}),
		},
		"the newest whole one is damaged": {
			snapshots: slices.Concat(whole, []Snapshot{
				point(2, "web", good), damaged(point(2, "db", good)), point(3, "web", good), point(3, "db", bad),
				point(4, "web", bad), point(4, "db", good),
			}),
			stay: slices.Concat(whole, []Snapshot{point(2, "web", good), point(2, "db", good)}),
		},
		"each run came to another target": {
			snapshots: []Snapshot{
				point(1, "web", good), point(1, "db", good), point(2, "web", good), point(2, "mail", good),
				point(3, "mail", good), point(3, "db", good), point(4, "web", good), point(4, "db", good),
				point(4, "mail", bad),
			},
			goes: []Snapshot{point(1, "web", good), point(2, "web", good)},
		},
		"one Repository of each target fails for months": {
			snapshots: slices.Concat(twice(good, whole...), twice(bad, point(2, "web", good), point(2, "db", good)),
				twice(bad, point(3, "web", good), point(3, "db", bad), point(4, "web", bad), point(4, "db", good))),
			stay: slices.Concat(whole, []Snapshot{point(2, "web", good), point(2, "db", good)}),
		},
		"a session of half of the Repositories has its own": {
			snapshots: slices.Concat(
				[]Snapshot{
					point(0, "web", good), point(0, "db", good), point(0, "mail", good), point(0, "files", good),
				},
				whole, partial, []Snapshot{point(4, "mail", good), point(4, "files", good)},
			),
			stay: whole,
		},
		"a session of its own Repositories has its own": {
			snapshots: slices.Concat(whole, partial, []Snapshot{
				point(4, "web-far", good), point(4, "db-far", good),
			}),
			stay: whole,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, p := range []Policy{
				{Rules: []Rule{{ruleLast, 1}}, Zone: time.UTC}, {MaxAge: time.Hour, Zone: time.UTC},
			} {
				stay := names(p.Decide(c.snapshots, now))
				for _, s := range c.stay {
					g.Expect(stay).To(HaveKey(s.Name))
				}
				for _, s := range c.goes {
					g.Expect(stay).NotTo(HaveKey(s.Name))
				}
				g.Expect(names(p.Decide(c.snapshots, now.Add(10_000*time.Hour)))).To(Equal(stay), "no time lets it go")
			}
		})
	}
}

// A run and its retry are one restore point: the run, what failed in it and what the retry healed stay together, and
// go together when a later point is whole.
func TestARestorePointWithARetryIsWhole(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	p := Policy{Rules: []Rule{{ruleLast, 1}}, Zone: time.UTC}
	point := func(run, name, repository string, hour int, phase v1alpha1.SnapshotPhase) Snapshot {
		return Snapshot{
			Name: name, Repository: repository, Point: run, Time: now.Add(time.Duration(hour-24) * time.Hour),
			Phase: phase,
		}
	}
	first := []Snapshot{
		point("1", "web-1", "web", 1, good), point("1", "db-1", "db", 1, bad), point("1", "db-1-r1", "db", 2, good),
	}
	g := NewWithT(t)
	g.Expect(kept(p.Decide(first, now))).
		To(ConsistOf("web-1: newest success last newest whole restore point",
			"db-1: newest whole restore point", "db-1-r1: newest success last newest whole restore point"))
	second := append(slices.Clone(first), point("2", "web-2", "web", 3, good), point("2", "db-2", "db", 3, bad))
	g.Expect(kept(p.Decide(second, now))).
		To(ContainElements("web-1: newest whole restore point",
			"db-1-r1: newest success last newest whole restore point"),
			"the last success of the database is of the first point: all of it stays")
	healed := append(slices.Clone(second), point("2", "db-2-r1", "db", 4, good))
	g.Expect(kept(p.Decide(healed, now))).
		To(ConsistOf("web-2: newest success last newest whole restore point",
			"db-2: newest whole restore point", "db-2-r1: newest success last newest whole restore point"))
}

// The targets of a batch that was renamed have new names, and their Repositories stay the same. What it had made is of
// another policy, and nothing pushes out the last of it. A point that does not tell its targets is not kept for that.
func TestTheLastRestorePointOfARenamedBatchStays(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	p := Policy{MaxAge: 30 * 24 * time.Hour, Zone: time.UTC}
	point := func(batch, repository string, age int, phase v1alpha1.SnapshotPhase) Snapshot {
		day := fmt.Sprintf("%s-%d", batch, age)
		s := Snapshot{
			Name: repository + "-" + day, Repository: repository, Point: day, Session: "nightly",
			Time: now.AddDate(0, 0, -age), Phase: phase,
		}
		if batch != "" {
			s.Target = batch + "-" + repository
		}
		return s
	}
	for name, tt := range map[string]struct {
		old  string
		last v1alpha1.SnapshotPhase
		want []string
	}{
		"the new one is whole":         {"shop", good, []string{"web-shop-700", "db-shop-700"}},
		"the new one is not whole":     {"shop", bad, []string{"web-shop-700", "db-shop-700"}},
		"nobody knows the old targets": {"", good, nil},
		"and the new one is not whole": {"", bad, []string{"web--700", "db--700"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := []Snapshot{
				point(tt.old, "web", 701, good), point(tt.old, "db", 701, good),
				point(tt.old, "web", 700, good), point(tt.old, "db", 700, good),
				point("app", "web", 1, good), point("app", "db", 1, tt.last),
			}
			NewWithT(t).Expect(slices.Collect(maps.Keys(names(p.Decide(all, now))))).To(
				ConsistOf(append(tt.want, "web-app-1", "db-app-1")))
		})
	}
}

// Batches that share Repositories can give their sessions one name. The hourly one has half of the targets, or of what
// they hold.
func TestAPointOfAnotherBatchTakesNoPlace(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	p := Policy{Rules: []Rule{{ruleLast, 1}}, Zone: time.UTC}
	point := func(batch, repository string, age int, phase v1alpha1.SnapshotPhase) Snapshot {
		run := fmt.Sprintf("%s-%d", batch, age)
		return Snapshot{
			Name: repository + "-" + run, Repository: repository, Target: batch + "-" + repository, Point: run,
			Session: "backup", Time: now.Add(-time.Duration(age) * time.Hour), Phase: phase,
		}
	}
	stay := names(p.Decide([]Snapshot{
		point("all", "web", 72, good), point("all", "db", 72, good),
		point("all", "web", 48, good), point("all", "db", 48, bad),
		point("all", "web", 24, bad), point("all", "db", 24, good),
		point("hot", "web", 2, good), point("hot", "db", 2, good),
		point("hot", "web", 1, good), point("hot", "db", 1, good),
	}, now))
	NewWithT(t).Expect(stay).To(And(HaveLen(8), Not(HaveKey("web-hot-2")), Not(HaveKey("db-hot-2"))))
}

// An hourly session of the same targets is whole each hour, and holds less.
func TestAPointOfAnotherSessionTakesNoPlace(t *testing.T) {
	now := at(t, "2026-11-20 12:00", "UTC")
	p := Policy{Rules: []Rule{{ruleLast, 1}}, Zone: time.UTC}
	point := func(session, repository string, age int, phase v1alpha1.SnapshotPhase) Snapshot {
		run := fmt.Sprintf("%s-%d", session, age)
		return Snapshot{
			Name: repository + "-" + run, Repository: repository, Target: repository, Point: run, Session: session,
			Time: now.Add(-time.Duration(age) * time.Hour), Phase: phase,
		}
	}
	stay := names(p.Decide([]Snapshot{
		point("nightly", "web", 72, good), point("nightly", "db", 72, good),
		point("nightly", "web", 48, good), point("nightly", "db", 48, bad),
		point("nightly", "web", 24, bad), point("nightly", "db", 24, good),
		point("hourly", "web", 1, good), point("hourly", "db", 1, good),
	}, now))
	NewWithT(t).Expect(stay).To(And(HaveKey("web-nightly-72"), HaveKey("db-nightly-72")))
}
