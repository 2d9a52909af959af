package trigger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/text"
)

// part is what a session backs up: one target into one Repository.
type part struct {
	// Name of the target in a run. Another object can have it later.
	Name string
	// Target is the object, Repository the name of the Repository.
	Target, Repository string
}

func (p part) String() string { return fmt.Sprintf("%s in Repository %s", p.Target, p.Repository) }

// asked returns what policy asks a session to back up.
func asked(invoker any, session string) []part {
	var out []part
	switch o := invoker.(type) {
	case *v1alpha1.BackupConfiguration:
		for i := range o.Spec.Sessions {
			if s := &o.Spec.Sessions[i]; s.Name == session && o.Spec.Target != nil {
				out = append(out, partsOf(o.Name, o.Name, *o.Spec.Target, s.Repositories)...)
			}
		}
	case *v1alpha1.BackupBatch:
		known := policy.KnownTargets(o)
		for i := range o.Spec.Sessions {
			if s := &o.Spec.Sessions[i]; s.Name == session {
				out = append(out, askedOfBatch(o.Name, s, known)...)
			}
		}
	}
	return out
}

// empty names the targets of a session whose selectors are known to find nothing.
func empty(invoker any, session string) []string {
	batch, ok := invoker.(*v1alpha1.BackupBatch)
	if !ok {
		return nil
	}
	all := policy.KnownEmpty(batch)
	var out []string
	for i := range batch.Spec.Sessions {
		s := &batch.Spec.Sessions[i]
		if s.Name != session {
			continue
		}
		for j := range s.Targets {
			if name := s.Targets[j].Name; slices.Contains(all, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func askedOfBatch(batch string, s *v1alpha1.BackupBatchSession, known []policy.Target) []part {
	var out []part
	for i := range s.Targets {
		for _, t := range known {
			if t.Entry() == s.Targets[i].Name {
				out = append(out, partsOf(t.Name, policy.ChildName(batch, t.Name), t.AppRef,
					policy.TargetRepositories(s, &s.Targets[i], &t))...)
			}
		}
	}
	return out
}

// partsOf returns the parts of one target. Without a name, a Repository has that of the configuration.
func partsOf(
	name, configuration string, target v1alpha1.TypedObjectReference, all []v1alpha1.RepositoryInfo,
) []part {
	if len(all) == 0 {
		all = []v1alpha1.RepositoryInfo{{}}
	}
	out := make([]part, len(all))
	for i := range all {
		out[i] = part{name, target.String(), cmp.Or(all[i].Name, configuration)}
	}
	return out
}

// coverage is what the last success of a session has backed up of what policy asks.
type coverage struct {
	// uncovered names what neither it nor a later run has backed up; "" if nothing, or if nobody knows.
	uncovered string
	losses
	// digest of what was backed up.
	digest string
}

// losses are the parts that were backed up into Repositories of which perhaps nothing can be restored any more, as
// messages name them; "" if there are none.
type losses struct {
	// emptied are those whose Repository holds no backup.
	emptied string
	// damaged are those of whose Repository a check has found every backup damaged.
	damaged string
	// halfRestored are those of which a restore had left the target half written before the newest backup in the
	// Repository was made.
	halfRestored string
	// unchecked are those whose Repository has nothing else left than what a scan has found and nobody has checked.
	unchecked string
}

// worst returns the reason of the worst losses, and their names.
func (l losses) worst() (reason, names string) {
	switch {
	case l.emptied != "":
		return v1alpha1.ReasonSnapshotNotFound, l.emptied
	case l.damaged != "":
		return v1alpha1.ReasonRepositoryDamaged, l.damaged
	case l.halfRestored != "":
		return v1alpha1.ReasonHalfRestored, l.halfRestored
	}
	return v1alpha1.ReasonNotChecked, l.unchecked
}

// covered compares what policy asks with what the last success, and the runs after it, have backed up. If the run of
// the last success is gone, it compares the digest that is known.
func (b *sessionFacts) covered(last backup.Success) coverage {
	c := coverage{digest: b.previous.LastSuccessOf}
	known, from := b.previous.LastSuccessTime, b.begun(last)
	if from == nil || known != nil && known.After(last.Ended) {
		switch {
		case c.digest == "":
		case c.digest != digestOf(b.asked):
			c.uncovered = "the targets or repositories have changed"
		case known != nil:
			c.losses = b.lost(b.asked, func(part) time.Time { return known.Time })
		}
		return c
	}
	got := b.backedUp(last, from)
	when := func(p part) time.Time {
		if at, ok := got[p]; ok {
			return at
		}
		return got[part{Name: p.Name}]
	}
	var has []part
	var none []string
	for _, p := range b.asked {
		if when(p).IsZero() {
			none = append(none, p.String())
		} else {
			has = append(has, p)
		}
	}
	return coverage{text.FirstFew(none), b.lost(has, when), digestOf(has)}
}

// lost looks what the Repositories of parts that were backed up at a time still hold.
func (b *sessionFacts) lost(parts []part, when func(part) time.Time) losses {
	if b.repositories == nil {
		return losses{}
	}
	var emptied, damaged, half, unchecked []string
	for _, p := range parts {
		r := b.repositories[p.Repository]
		if policy.Emptied(r, when(p)) {
			emptied = append(emptied, p.String())
			continue
		}
		switch policy.Holds(r) {
		case policy.HoldsDamaged:
			damaged = append(damaged, p.String())
		case policy.HoldsHalfRestored:
			half = append(half, p.String())
		case policy.HoldsUnchecked:
			unchecked = append(unchecked, p.String())
		}
	}
	return losses{
		text.FirstFew(emptied), text.FirstFew(damaged), text.FirstFew(half), text.FirstFew(unchecked),
	}
}

// begun returns the runs of the last success, of which the second began the restore point if the first is a retry. It
// returns nil if the run is gone, or does not tell what it backed up.
func (b *sessionFacts) begun(last backup.Success) (of []*v1alpha1.BackupSession) {
	for _, r := range b.runs {
		var one backup.Success
		if one.See(r, b.now); one.Ended.IsZero() || !one.Ended.Equal(last.Ended) || r.Status.Resolved == nil {
			continue
		}
		of = []*v1alpha1.BackupSession{r}
		for _, first := range b.runs {
			if first.Name == r.Status.Resolved.RestorePoint && first.Status.Resolved != nil {
				of = append(of, first)
			}
		}
	}
	return of
}

// backedUp returns what the runs of the last success, and later ones, have backed up, and when the newest of them
// ended. A part without a target stands for all of that name: the run that began the restore point is gone, and had
// left it in order.
func (b *sessionFacts) backedUp(last backup.Success, from []*v1alpha1.BackupSession) map[part]time.Time {
	got := map[part]time.Time{}
	note := func(r *v1alpha1.BackupSession) func(*v1alpha1.ResolvedTarget, string) {
		ended := v1alpha1.Happened(backup.EndOf(r), r.CreationTimestamp.Time, b.now)
		if ended.IsZero() { // both clocks were ahead
			ended = b.now
		}
		return func(t *v1alpha1.ResolvedTarget, repository string) {
			if p := (part{t.Name, t.AppRef.String(), repository}); ended.After(got[p]) {
				got[p] = ended
			}
		}
	}
	for _, r := range from { // a retry that succeeded completes what the first run of its restore point began
		see := note(r)
		for i := range r.Status.Resolved.Targets {
			t := &r.Status.Resolved.Targets[i]
			for j := range t.Repositories {
				see(t, t.Repositories[j].Name)
			}
		}
	}
	if s := from[0].Status.Resolved; s.RestorePoint != "" && len(from) == 1 {
		for _, p := range b.asked {
			if !slices.ContainsFunc(s.Targets, func(t v1alpha1.ResolvedTarget) bool { return t.Name == p.Name }) {
				got[part{Name: p.Name}] = last.Ended
			}
		}
	}
	for _, r := range b.runs {
		if !backup.EndOf(r).Before(last.Ended) {
			backup.BackedUp(r, note(r))
		}
	}
	return got
}

// digestOf returns a short digest of parts in any order.
func digestOf(parts []part) string {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Target, b.Target),
			cmp.Compare(a.Repository, b.Repository))
	})
	return strings.TrimPrefix(policy.Digest(parts), "sha256:")[:16]
}
