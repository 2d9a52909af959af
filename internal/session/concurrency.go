package session

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Rivals are the runs that a run must not start beside.
type Rivals struct {
	// Policy of the session. Empty is Allow.
	Policy v1alpha1.ConcurrencyPolicy
	// Runs of the same session that have not ended, without the run itself.
	Runs []*v1alpha1.BackupSession
}

// Judged says whether anybody has to ask for the rivals of a run.
func (r Rivals) Judged() bool {
	return r.Policy == v1alpha1.ConcurrencyForbid || r.Policy == v1alpha1.ConcurrencyReplace
}

// inTheWay are those that started, or were made, before s. Of two that wait the one that was made first goes first.
func (r Rivals) inTheWay(s *v1alpha1.BackupSession) []*v1alpha1.BackupSession {
	if !r.Judged() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.Runs), func(other *v1alpha1.BackupSession) bool {
		return other.Status.Resolved == nil && compareRuns(other, s) > 0
	})
}

func compareRuns(a, b *v1alpha1.BackupSession) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// replaces says whether s takes the place of its rivals. A run that only tries again what failed never does.
func (r Rivals) replaces(s *v1alpha1.BackupSession) bool {
	return r.Policy == v1alpha1.ConcurrencyReplace && s.Spec.RetryOf == ""
}

// Replaces says whether s ends another run already: then it has begun its work, and is not too late any more.
func (r Rivals) Replaces(s *v1alpha1.BackupSession) bool {
	return slices.ContainsFunc(r.Runs, func(other *v1alpha1.BackupSession) bool {
		by, _ := ReplacedBy(other)
		return by == s.Name
	})
}

// ReplacedBy is the run that takes the place of s, and since when; empty where there is none.
func ReplacedBy(s *v1alpha1.BackupSession) (string, time.Time) {
	name, seconds, _ := strings.Cut(s.Annotations[v1alpha1.AnnotationReplacedBy], "/")
	since, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return name, s.CreationTimestamp.Time
	}
	return name, time.Unix(since, 0).UTC()
}

// FormatReplacedBy is the value of the annotation that ReplacedBy reads.
func FormatReplacedBy(name string, since time.Time) string {
	return name + "/" + strconv.FormatInt(since.Unix(), 10)
}

// Stopped says whether somebody ends a run: it is deleted, or another one takes its place.
func Stopped(s *v1alpha1.BackupSession) bool {
	name, _ := ReplacedBy(s)
	return s.DeletionTimestamp != nil || name != ""
}

// stoppedAt is when that was, and what to say of it.
func stoppedAt(s *v1alpha1.BackupSession) (since time.Time, message string) {
	if s.DeletionTimestamp != nil {
		return s.DeletionTimestamp.Time, "the run was deleted"
	}
	name, since := ReplacedBy(s)
	return since, fmt.Sprintf("BackupSession %s takes its place, as concurrencyPolicy says", name)
}

// compete decides what a run that can start does about its rivals: nothing (false), give way, or end them first.
func compete(in Input, d *Decision) bool {
	rivals := in.Start.Rivals.inTheWay(in.Session)
	if len(rivals) == 0 {
		return false
	}
	if !in.Start.Rivals.replaces(in.Session) {
		end(in, d, v1alpha1.BackupSessionSkipped, v1alpha1.ReasonConcurrencyForbidden,
			fmt.Sprintf("BackupSession %s of the same session has not ended, and concurrencyPolicy is %s", rivals[0].Name, in.Start.Rivals.Policy))
		return true
	}
	for _, other := range rivals {
		if compareRuns(other, in.Session) > 0 {
			end(in, d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonReplaced,
				fmt.Sprintf("BackupSession %s started while this one waited, and takes its place, as concurrencyPolicy says", other.Name))
			return true
		}
	}
	for _, other := range rivals {
		if name, _ := ReplacedBy(other); name == "" {
			d.Replace = append(d.Replace, other.Name)
		}
	}
	wait(in, d, v1alpha1.ReasonReplacing, "waiting for the end of BackupSession "+rivals[0].Name+", whose place it takes", in.Now.Add(pollInterval))
	return true
}
