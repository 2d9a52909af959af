package restorebatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// Sought is a target of which Snapshots are sought that other policies made.
type Sought struct {
	// App is the object that was backed up.
	App v1alpha1.TypedObjectReference
	// Chosen is the Snapshot that is restored, or nil: then those of any time are sought.
	Chosen *v1alpha1.Snapshot
	// Only is the Repository that the spec names, or "".
	Only string
}

// SoughtAfter returns the targets of which other policies can have made newer Snapshots than the ones that
// ChooseSnapshots has chosen. It returns nil if the restore point is named.
func SoughtAfter(spec *v1alpha1.RestoreBatchSpec, chosen map[string]*v1alpha1.Snapshot) []Sought {
	if isNamed(&spec.DataSource) {
		return nil
	}
	var out []Sought
	for i := range spec.Targets {
		s := chosen[spec.Targets[i].Name]
		out = append(out, Sought{App: s.Spec.AppRef, Chosen: s, Only: spec.Targets[i].Repository})
	}
	return out
}

// Recent returns the names of the newest Snapshots of a Repository that can be of the target, the newest first. known
// are those of the BackupBatch itself.
func (x Sought) Recent(
	r *v1alpha1.Repository, source *v1alpha1.RestoreBatchDataSource, known map[string]bool, now time.Time,
) []string {
	if !x.in(r) {
		return nil
	}
	var out []string
	for i := range r.Status.RecentSnapshots {
		s := &r.Status.RecentSnapshots[i]
		if s.Phase == v1alpha1.SnapshotSucceeded && s.SnapshotTime != nil && !known[s.Name] &&
			x.admits(source, s.Session, s.SnapshotTime.Time, now) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Admits reports whether a Snapshot of another policy is a good one of the target that counts.
func (x Sought) Admits(source *v1alpha1.RestoreBatchDataSource, s *v1alpha1.Snapshot, now time.Time) bool {
	return restore.Good(s) && policy.SameTarget(s.Spec.AppRef, x.App) &&
		x.admits(source, s.Spec.Session, s.MadeBy(now).Time, now)
}

func (x Sought) admits(source *v1alpha1.RestoreBatchDataSource, session string, at, now time.Time) bool {
	return (source.Session == "" || source.Session == session) && momentOf(source).Allows(at) &&
		(x.Chosen == nil || run.CompareTimes(at, x.Chosen.MadeBy(now).Time, now) > 0)
}

// maxNewer is how many targets NewerSnapshots names at most.
const maxNewer = 5

// NewerSnapshots explains which targets have a newer Snapshot than the one that ChooseSnapshots has chosen: a good one,
// where not all targets succeeded since or another policy backs them up now, or a damaged one, which does not count.
// elsewhere are Snapshots of other policies. It returns "" if there is none, or if the restore point is named.
func NewerSnapshots(
	list, elsewhere []v1alpha1.Snapshot, spec *v1alpha1.RestoreBatchSpec, chosen map[string]*v1alpha1.Snapshot,
	now time.Time,
) string {
	source := &spec.DataSource
	if isNamed(source) {
		return ""
	}
	newest := newestOfBatch(list, spec, chosen, now, restore.Good)
	spoiled := newestOfBatch(list, spec, chosen, now, restore.Spoiled)
	for _, x := range SoughtAfter(spec, chosen) {
		for i := range elsewhere {
			if s := &elsewhere[i]; x.Admits(source, s, now) && (x.Only == "" || x.Only == s.Spec.Repository) {
				newest[x.Chosen.Name] = newerOf(newest[x.Chosen.Name], dated{s, s.MadeBy(now).Time, now})
			}
		}
	}
	var out []string
	var advice adviceOnNewer
	for i := range spec.Targets {
		c := chosen[spec.Targets[i].Name]
		var says []string
		s, good := newest[c.Name]
		if good {
			ofBatch := retention.OfBatch(s.Snapshot, source)
			advice.own, advice.foreign = advice.own || ofBatch, advice.foreign || !ofBatch
			says = append(says, fmt.Sprintf("Snapshot %s of %s, %s, is newer than %s of %s", s.Name, instant(s.at),
				madeBy(s.Snapshot, ofBatch), c.Name, instant(c.MadeBy(now).Time)))
		}
		if d, damaged := spoiled[c.Name]; damaged && (!good || newerSnapshot(d, s) > 0) {
			advice.damaged = true
			says = append(says, fmt.Sprintf("Snapshot %s of %s, %s, is newer, but damaged: %s", d.Name, instant(d.at),
				madeBy(d.Snapshot, true), restore.DamageOf(d.Snapshot, nil)))
		}
		if len(says) > 0 {
			out = append(out, "target "+spec.Targets[i].Name+": "+strings.Join(says, ", and "))
		}
	}
	if len(out) == 0 {
		return ""
	}
	if more := len(out) - maxNewer; more > 0 {
		out = append(out[:maxNewer], fmt.Sprintf("%d more targets", more))
	}
	return "not all targets get their newest data: " + advice.String() + "; " + strings.Join(out, "; ")
}

// newestOfBatch returns the newest Snapshot of other restore points that counts and is newer than the one that was
// chosen, by the name of that one.
func newestOfBatch(
	list []v1alpha1.Snapshot, spec *v1alpha1.RestoreBatchSpec, chosen map[string]*v1alpha1.Snapshot, now time.Time,
	counts func(*v1alpha1.Snapshot) bool,
) map[string]dated {
	out := map[string]dated{}
	for i := range list {
		s := &list[i]
		if !retention.OfBatch(s, &spec.DataSource) || !counts(s) {
			continue
		}
		c := chosen[wantedTarget(spec, s)]
		if c == nil || retention.Point(s) == retention.Point(c) {
			continue
		}
		x := Sought{App: s.Spec.AppRef, Chosen: c}
		if at := s.MadeBy(now).Time; x.admits(&spec.DataSource, s.Spec.Session, at, now) {
			out[c.Name] = newerOf(out[c.Name], dated{s, at, now})
		}
	}
	return out
}

func newerOf(a, b dated) dated {
	if a.Snapshot == nil || newerSnapshot(b, a) > 0 {
		return b
	}
	return a
}

const adviceOnForeign = "with its BackupBatch in dataSource.backupBatch (--batch), or alone (--snapshot)"

// adviceOnNewer says how newer Snapshots are restored: own ones of the BackupBatch, those of a foreign policy, and
// damaged ones.
type adviceOnNewer struct{ own, foreign, damaged bool }

// String returns the advice.
func (a adviceOnNewer) String() string {
	var ways []string
	if a.own {
		ways = append(ways, "create another RestoreBatch with dataSource.mixed (cairn restore --batch --mixed), or "+
			"name a restore point in dataSource.backupSession (--backup-session)")
	}
	if a.foreign {
		ways = append(ways, "restore what another policy made "+adviceOnForeign)
	}
	if a.damaged {
		ways = append(ways, "restore what is left of a damaged one with its restore point in dataSource.backupSession "+
			"and dataSource.allowDamaged (--backup-session, --allow-damaged)")
	}
	return "if you want that, " + strings.Join(ways, "; ")
}

// madeBy says which run or policy made a Snapshot.
func madeBy(s *v1alpha1.Snapshot, ofBatch bool) string {
	if ofBatch {
		return "of BackupSession " + retention.Point(s)
	}
	kind, name := s.Labels[v1alpha1.LabelInvokerKind], s.Labels[v1alpha1.LabelInvokerName]
	if kind == "" || name == "" {
		return "of an unknown policy"
	}
	return "of " + kind + " " + name
}

// instant returns a time as messages have it.
func instant(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// maxScans is how many Repositories LostByCluster names at most.
const maxScans = 3

// LostByCluster returns the refusal of a BackupBatch that has no Snapshot of the targets, with how the Repositories of
// the targets give back what only the cluster has lost. It returns the refusal as it is if there are none.
func LostByCluster(
	refusal *v1alpha1.ResolvedError, sought []Sought, repositories []v1alpha1.Repository,
) *v1alpha1.ResolvedError {
	var scans []string
	for i := range repositories {
		r := &repositories[i]
		if !policy.HoldsVolumeSnapshots(r) && slices.ContainsFunc(sought, func(x Sought) bool { return x.in(r) }) {
			scans = append(scans, fmt.Sprintf("cairn repository scan %s -n %s", r.Name, r.Namespace))
		}
	}
	if len(scans) == 0 {
		return refusal
	}
	slices.Sort(scans)
	more := ""
	if n := len(scans) - maxScans; n > 0 {
		scans, more = scans[:maxScans], fmt.Sprintf(", and so for %d more", n)
	}
	out := refusal.DeepCopy()
	out.Message += ". If the backends hold backups that the cluster has lost, bring them back: " +
		strings.Join(scans, ", ") + more
	return out
}

// in reports whether the target has backups in a Repository.
func (x Sought) in(r *v1alpha1.Repository) bool {
	own := x.Chosen != nil && x.Chosen.Spec.Repository == r.Name
	return (x.Only == "" || x.Only == r.Name) && (own || policy.SameTarget(r.Spec.AppRef, x.App))
}

// UnderAnotherName returns the refusal of a BackupBatch that has no Snapshot of the targets, with the newest of the
// Snapshots that other policies made of them. It returns the refusal as it is if there are none.
func UnderAnotherName(
	refusal *v1alpha1.ResolvedError, elsewhere []v1alpha1.Snapshot, now time.Time,
) *v1alpha1.ResolvedError {
	if len(elsewhere) == 0 {
		return refusal
	}
	all := make([]dated, 0, len(elsewhere))
	for i := range elsewhere {
		all = append(all, dated{&elsewhere[i], elsewhere[i].MadeBy(now).Time, now})
	}
	s := slices.MaxFunc(all, func(a, b dated) int { return cmp.Or(newerSnapshot(a, b), cmp.Compare(a.Name, b.Name)) })
	out := refusal.DeepCopy()
	out.Message += fmt.Sprintf(". But Repository %s holds Snapshot %s of %s, %s: if you want it, restore it %s",
		s.Spec.Repository, s.Name, instant(s.at), madeBy(s.Snapshot, false), adviceOnForeign)
	return out
}
