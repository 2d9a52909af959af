package retention

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is a random set of Snapshots of a few Repositories, with failures, unfinished runs, restores, scans and
// ties.
func world(r *rand.Rand) ([]Snapshot, time.Time) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	var out []Snapshot
	points, scanned := 1+r.IntN(60), r.IntN(3) == 0
	for i := range points {
		when := now.Add(-time.Duration(r.Int64N(int64(900 * 24 * time.Hour))))
		if r.IntN(3) == 0 {
			when = now.Add(-time.Duration(i) * time.Hour)
		}
		for repository := range 1 + r.IntN(3) {
			s := Snapshot{
				Name: fmt.Sprintf("%d-%d", i, repository), Repository: fmt.Sprint(repository),
				Session: []string{"nightly", "hourly"}[i%2*r.IntN(2)],
				Time:    when.Add(time.Duration(r.IntN(90)) * time.Second), Phase: good,
			}
			if r.IntN(2) == 0 {
				s.Point, s.Target = fmt.Sprint(i), fmt.Sprint(repository/2)
			}
			if r.IntN(4) == 0 {
				s.Target = []string{"", "another", "third"}[r.IntN(3)]
			}
			switch r.IntN(12) {
			case 0, 1:
				s.Phase = bad
			case 2:
				s.Phase = running
			case 3:
				s.Held = "a restore"
			case 4, 5:
				s.Damaged = true
			case 6, 7:
				if scanned {
					s.Unchecked = now.Add(time.Duration(1+7*r.IntN(2)) * 24 * time.Hour)
				}
			case 8:
				if scanned {
					s.Gathering = now.Add(24 * time.Hour)
				}
			}
			out = append(out, s)
		}
	}
	return out, now
}

func randomPolicy(r *rand.Rand) Policy {
	p := Policy{Failed: r.IntN(3), Zone: time.UTC}
	if berlin, err := time.LoadLocation("Europe/Berlin"); err == nil && r.IntN(2) == 0 {
		p.Zone = berlin
	}
	if r.IntN(2) == 0 {
		p.MaxAge = time.Duration(1+r.IntN(800*24)) * time.Hour
	}
	for _, name := range []string{ruleLast, ruleHourly, ruleDaily, ruleWeekly, ruleMonthly, ruleYearly} {
		if r.IntN(3) == 0 {
			p.Rules = append(p.Rules, Rule{name, 1 + r.IntN(8)})
		}
	}
	return p
}

// generous returns p with more kept.
func generous(r *rand.Rand, p Policy) Policy {
	out := p
	out.Failed += r.IntN(3)
	if out.MaxAge > 0 && r.IntN(3) == 0 {
		out.MaxAge = 0
	} else if out.MaxAge > 0 {
		out.MaxAge += time.Duration(r.IntN(1000)) * time.Hour
	}
	out.Rules = nil
	for _, rule := range p.Rules {
		out.Rules = append(out.Rules, Rule{rule.Name, rule.Count + r.IntN(3)})
	}
	if len(p.Rules) > 0 && r.IntN(2) == 0 {
		out.Rules = append(out.Rules, Rule{ruleMonthly, 1 + r.IntN(5)})
	}
	return out
}

func names(verdicts []Verdict) map[string]bool {
	out := map[string]bool{}
	for _, v := range verdicts {
		if !v.Goes() {
			out[v.Name] = true
		}
	}
	return out
}

// TestProperties checks the properties against the same 3,000 random worlds each time. FuzzProperties goes on from
// there.
func TestProperties(t *testing.T) {
	for seed := range uint64(3000) {
		if err := properties(rand.New(rand.NewPCG(seed, 1))); err != nil {
			t.Fatalf("seed %d, %v", seed, err)
		}
	}
}

// drawn returns the numbers of the fuzzer, so that it learns which of them matter, and other numbers when those are
// used up.
type drawn struct {
	numbers []byte
	more    *rand.PCG
}

func (d *drawn) Uint64() uint64 {
	if len(d.numbers) < 8 {
		return d.more.Uint64()
	}
	n := binary.LittleEndian.Uint64(d.numbers)
	d.numbers = d.numbers[8:]
	return n
}

func FuzzProperties(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Fuzz(func(t *testing.T, seed uint64, numbers []byte) {
		if err := properties(rand.New(&drawn{numbers, rand.NewPCG(seed, 2)})); err != nil {
			t.Fatal(err)
		}
	})
}

// properties decides in a random world under a random policy and returns which promise is broken.
func properties(r *rand.Rand) error {
	snapshots, now := world(r)
	p := randomPolicy(r)
	verdicts := p.Decide(snapshots, now)
	stay := names(verdicts)
	for _, holds := range []func() error{
		func() error { return keepsWhatItMust(snapshots, stay, verdicts) },
		func() error { return monotonic(r, p, snapshots, now, stay) },
		func() error { return announced(p, snapshots, now, verdicts, stay) },
	} {
		if err := holds(); err != nil {
			return fmt.Errorf("policy %+v: %w", p, err)
		}
	}
	r.Shuffle(len(snapshots), func(i, j int) { snapshots[i], snapshots[j] = snapshots[j], snapshots[i] })
	if fmt.Sprint(kept(p.Decide(snapshots, now))) != fmt.Sprint(kept(verdicts)) {
		return fmt.Errorf("policy %+v: the order of the input matters", p)
	}
	return nil
}

// keepsWhatItMust: the newest success of each session of each target in a Repository, unfinished or used Snapshots, and
// whole restore points stay. What does not tell its target counts with all of its session.
func keepsWhatItMust(snapshots []Snapshot, stay map[string]bool, verdicts []Verdict) error {
	if len(verdicts) != len(snapshots) {
		return fmt.Errorf("%d verdicts for %d snapshots", len(verdicts), len(snapshots))
	}
	newest := map[string]Snapshot{}
	intact := map[string]Snapshot{}
	points := map[string]bool{}
	for _, s := range snapshots {
		for _, target := range []string{s.Target, ""} {
			of := s.Repository + "/" + s.Session + "/" + target
			if n, ok := newest[of]; s.Phase == good &&
				(!ok || s.Time.After(n.Time) || s.Time.Equal(n.Time) && s.Name > n.Name) {
				newest[of] = s
			}
			if n, ok := intact[of]; s.Phase == good && !s.Damaged &&
				(!ok || s.Time.After(n.Time) || s.Time.Equal(n.Time) && s.Name > n.Name) {
				intact[of] = s
			}
		}
		if (!s.Phase.Terminal() || s.Held != "" || !s.Unchecked.IsZero() || !s.Gathering.IsZero()) && !stay[s.Name] {
			return fmt.Errorf("%s goes although it is held or unfinished, or was rebuilt", s.Name)
		}
		if stays, seen := points[s.Point]; s.Point != "" && seen && stays != stay[s.Name] {
			return fmt.Errorf("a part of restore point %s goes", s.Point)
		}
		points[s.Point] = stay[s.Name]
	}
	for what, all := range map[string]map[string]Snapshot{"good": newest, "undamaged": intact} {
		for of, s := range all {
			if !stay[s.Name] {
				return fmt.Errorf("the newest %s one of %s, %s, goes", what, of, s.Name)
			}
		}
	}
	return nil
}

// monotonic: a more generous policy keeps more. Neither time, nor another backup, nor deciding again brings back a
// Snapshot that went.
func monotonic(r *rand.Rand, p Policy, snapshots []Snapshot, now time.Time, stay map[string]bool) error {
	if more := names(generous(r, p).Decide(snapshots, now)); !superset(more, stay) {
		return errors.New("a more generous policy lets go of more")
	}
	later := now.Add(time.Duration(r.Int64N(int64(500 * 24 * time.Hour))))
	if after := names(p.Decide(snapshots, later)); !superset(stay, after) {
		return errors.New("time brings something back")
	}
	another := Snapshot{
		Name: "another", Repository: "0", Session: "nightly", Target: []string{"", "0", "another"}[r.IntN(3)],
		Time: now.Add(2 * time.Minute), Phase: good,
	}
	after := names(p.Decide(append(slices.Clone(snapshots), another), another.Time))
	if !after[another.Name] {
		return errors.New("a new backup goes at once")
	}
	if delete(after, another.Name); !superset(stay, after) {
		return errors.New("another backup brings something back")
	}
	left := slices.DeleteFunc(slices.Clone(snapshots), func(s Snapshot) bool { return !stay[s.Name] })
	if again := names(p.Decide(left, now)); len(again) != len(stay) {
		return fmt.Errorf("deciding again keeps %d of %d", len(again), len(stay))
	}
	return nil
}

// announced: a Snapshot that goes without a new backup goes at the announced instant, not before.
func announced(p Policy, snapshots []Snapshot, now time.Time, verdicts []Verdict, stay map[string]bool) error {
	next := Next(verdicts)
	switch {
	case next.IsZero() && !superset(names(p.Decide(snapshots, now.Add(10000*24*time.Hour))), stay):
		return errors.New("something goes, but nothing was announced")
	case next.IsZero():
	case !superset(names(p.Decide(snapshots, next.Add(-1))), stay):
		return fmt.Errorf("something goes before %s", next)
	case superset(names(p.Decide(snapshots, next)), stay):
		return fmt.Errorf("nothing goes at %s", next)
	}
	return nil
}

func superset(all, some map[string]bool) bool {
	for name := range some {
		if !all[name] {
			return false
		}
	}
	return true
}
