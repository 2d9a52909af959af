package backup

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// Rivals are the runs beside which a run must not start.
type Rivals struct {
	// Policy is the concurrencyPolicy of the session. Empty means Allow.
	Policy v1alpha1.ConcurrencyPolicy
	// Runs are the other runs of the same session that have not ended, and those that ended because this run takes
	// their place.
	Runs []*v1alpha1.BackupSession
}

// Judged reports whether the rivals of a run matter at all.
func (r Rivals) Judged() bool {
	return r.Policy == v1alpha1.ConcurrencyForbid || r.Policy == v1alpha1.ConcurrencyReplace
}

// inTheWay returns the rivals that have started or were made before s. Of two runs that wait, the one that was made
// first goes first. One that a clock of the future has dated counts as made before the others: if it replaced them, an
// old run would win against new ones.
func (r Rivals) inTheWay(s *v1alpha1.BackupSession, now time.Time) []*v1alpha1.BackupSession {
	if !r.Judged() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.Runs), func(other *v1alpha1.BackupSession) bool {
		later := compareRuns(other, s) > 0
		if ahead := toCome(other, now); ahead != toCome(s, now) {
			later = !ahead
		}
		return other.Status.Phase.Terminal() || other.Status.Resolved == nil && later
	})
}

func compareRuns(a, b *v1alpha1.BackupSession) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// toCome reports whether a clock that was ahead says when a run was made.
func toCome(s *v1alpha1.BackupSession, now time.Time) bool {
	return v1alpha1.Ahead(s.CreationTimestamp.Time, now)
}

// laterThan reports whether a run is known to be made after s. Of one that is still to come nobody knows that, unless
// also s is: then the manager can be behind.
func laterThan(s, other *v1alpha1.BackupSession, now time.Time) bool {
	return compareRuns(other, s) > 0 && (!toCome(other, now) || toCome(s, now))
}

// replaces reports whether s takes the place of its rivals. A retry never does.
func (r Rivals) replaces(s *v1alpha1.BackupSession) bool {
	return r.Policy == v1alpha1.ConcurrencyReplace && s.Spec.RetryOf == ""
}

// hasReplaced reports whether s ends another run or has ended one. If so, s has begun its work and can no longer be too
// late. The status says it where the other run is gone.
func (r Rivals) hasReplaced(s *v1alpha1.BackupSession) bool {
	return s.Status.Reason == v1alpha1.ReasonReplacing ||
		slices.ContainsFunc(r.Runs, func(other *v1alpha1.BackupSession) bool { return Replaces(s, other) })
}

// Replaces reports whether s takes the place of other, which somebody has marked so.
func Replaces(s, other *v1alpha1.BackupSession) bool {
	by, _ := replacedBy(other)
	return by == s.Name
}

// replacedBy returns the run that takes the place of s, and since when. The name is empty where there is none.
func replacedBy(s *v1alpha1.BackupSession) (string, time.Time) {
	name, seconds, _ := strings.Cut(s.Annotations[v1alpha1.AnnotationReplacedBy], "/")
	since, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return name, s.CreationTimestamp.Time
	}
	return name, time.Unix(since, 0).UTC()
}

// FormatReplacedBy returns the value of the annotation that replacedBy reads.
func FormatReplacedBy(name string, since time.Time) string {
	return name + "/" + strconv.FormatInt(since.Unix(), 10)
}

// stopped reports whether somebody ends a run: it is deleted, or another run takes its place.
func stopped(s *v1alpha1.BackupSession) bool {
	name, _ := replacedBy(s)
	return s.DeletionTimestamp != nil || name != ""
}

// stoppedAt returns when a run was stopped and a message that says why.
func stoppedAt(s *v1alpha1.BackupSession) (since time.Time, message string) {
	if s.DeletionTimestamp != nil {
		return s.DeletionTimestamp.Time, "the run was deleted"
	}
	name, since := replacedBy(s)
	return since, fmt.Sprintf("BackupSession %s replaces this run (concurrencyPolicy Replace)", name)
}

// handleRivals handles the rivals of a run that can start. It returns false if there are none in the way. Otherwise the
// run gives way or ends them first.
func handleRivals(in Input, d *Decision) bool {
	rivals := in.Start.Rivals.inTheWay(in.Session, in.Now)
	if len(rivals) == 0 {
		return false
	}
	if !in.Start.Rivals.replaces(in.Session) {
		end(in, d, v1alpha1.BackupSessionSkipped, v1alpha1.ReasonConcurrencyForbidden,
			fmt.Sprintf("BackupSession %s of the same session has not ended, and concurrencyPolicy is %s",
				rivals[0].Name, in.Start.Rivals.Policy))
		return true
	}
	for _, other := range rivals {
		if laterThan(in.Session, other, in.Now) {
			end(in, d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonReplaced,
				fmt.Sprintf("BackupSession %s started while this run waited, and replaces it (concurrencyPolicy "+
					"Replace)", other.Name))
			return true
		}
	}
	if !in.Start.canBackUp() {
		return false // It ends at once, and would end another for nothing.
	}
	for _, other := range rivals {
		if name, _ := replacedBy(other); name == "" {
			d.Replace = append(d.Replace, other.Name)
		}
	}
	wait(in, d, v1alpha1.ReasonReplacing,
		"waiting for BackupSession "+rivals[0].Name+" to end, which this run replaces", in.Now.Add(run.PollInterval))
	return true
}

// canBackUp reports whether a target has no error.
func (start *Start) canBackUp() bool {
	return slices.ContainsFunc(start.Targets, func(t StartTarget) bool {
		trouble, _ := t.trouble()
		return trouble == nil
	})
}
