package keeper

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Attempts counts the failures of a keeper in a row, and knows how much a check can do, by the name of the Repository.
type Attempts map[string]Attempt

// Attempt counts how often in a row the work in a Repository failed.
type Attempt struct {
	Count int         `json:"count"`
	At    metav1.Time `json:"at"`
	// Job is the last counted Job, so that no Job counts twice.
	Job string `json:"job"`
	// Check is the number of components that the next check can have, because one took too long. 0 is no limit.
	Check int `json:"check,omitempty"`
	// Alone means that the next Job has no other Repository, and no check without maintenance beside other work,
	// because one took too much memory. It ends with work and a check that succeed.
	Alone bool `json:"alone,omitempty"`
}

// Ended is how the work of a Job in a Repository ended.
type Ended struct {
	Failed bool
	// TooMany is the number of components of a check that took too long, and Verified that of a check that did not.
	// Both are 0 if the work was no check.
	TooMany, Verified int
	// Checked means that the work had a check.
	Checked bool
	// Killed means that the Job took too much memory, in this Repository or in another one.
	Killed bool
}

// limit returns how many components the next check can have, if the last one could have as many as before. A check that
// took too long halves the number, unless it had a single one, which says nothing of others. One that did not doubles
// it: the storage can be faster now.
func (e Ended) limit(before int) int {
	switch {
	case e.TooMany == 1:
		return before
	case e.TooMany > 1:
		return (e.TooMany + 1) / 2
	case before == 0 || e.Verified == 0:
		return before
	case 2*e.Verified >= maxChecked:
		return 0
	}
	return max(before, 2*e.Verified) // it can have had less to check
}

const (
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// retry returns when to try a Repository again: a minute after the first failure, twice as long each time, at most an
// hour.
func (a Attempt) retry() time.Time {
	wait := lastRetry
	if a.Count < 7 {
		wait = min(lastRetry, firstRetry<<(a.Count-1))
	}
	return a.At.Add(wait)
}

// ParseAttempts reads what Encode returned. An unreadable text only loses the memory of failures.
func ParseAttempts(text string) Attempts {
	a := Attempts{}
	_ = json.Unmarshal([]byte(text), &a)
	if a == nil { // the text was "null"
		a = Attempts{}
	}
	return a
}

// Encode returns the attempts as text, "" if there are none.
func (a Attempts) Encode() (string, error) {
	if len(a) == 0 {
		return "", nil
	}
	b, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("encode attempts: %w", err)
	}
	return string(b), nil
}

// Ready leaves out work that failed a short while ago, and returns as much of the rest as fits into one Job, and when
// to retry the first of what it left out; zero means never.
func (a Attempts) Ready(all []Work, now time.Time) (due []Work, next time.Time) {
	for _, w := range all {
		f, failed := a[w.Repository.Name]
		if failed && f.Count > 0 && now.Before(f.retry()) && !isAhead(f.At.Time, now) {
			next = EarlierOf(next, f.retry())
			continue
		}
		w.removesFirst = f.Count%2 == 1
		w.Check = atMost(f.Check, w.Check)
		if f.Alone && w.Checks && w.Maintain == "" {
			w.takeTurns(f.Count)
		}
		due = append(due, w)
	}
	return limitToJob(due), next
}

// takeTurns leaves out the check, or else what is due beside it, by the number of failures in a row: neither puts off
// the other for ever.
func (w *Work) takeTurns(failures int) {
	switch {
	case !w.Removes() && w.Scan == "":
	case failures%2 == 1:
		w.Check, w.Checks = nil, false
	default:
		w.Snapshots, w.Scan = nil, ""
	}
}

// Apart returns what one Job can do of this work, which is not empty: work that must have a Job for itself, or all of
// the other. Chance decides, because a Job can take longer than the longest wait for a retry: a fixed order would let
// some wait for ever.
func (a Attempts) Apart(work []Work, now time.Time) []Work {
	var jobs [][]Work
	var together []Work
	for i, w := range work {
		if a[w.Repository.Name].Alone {
			jobs = append(jobs, work[i:i+1])
		} else {
			together = append(together, w)
		}
	}
	if len(together) > 0 {
		jobs = append(jobs, together)
	}
	return jobs[now.Unix()%int64(len(jobs))]
}

// Count counts the failures and successes of a Job that ended at a time. It can be called again for the same Job.
func (a Attempts) Count(job string, at metav1.Time, ended map[string]Ended) {
	for repository, e := range ended {
		before := a[repository]
		next := Attempt{
			At: at, Job: job, Check: e.limit(before.Check), Alone: e.Killed || before.Alone && (e.Failed || !e.Checked),
		}
		if before.Job == job {
			next = before
		}
		switch {
		case !e.Failed:
			next.Count = 0
		case before.Job != job:
			next.Count = before.Count + 1
		}
		if a[repository] = next; next.Count == 0 && next.Check == 0 && !next.Alone {
			delete(a, repository)
		}
	}
}

// EarlierOf returns the earlier of two times. The zero time means never.
func EarlierOf(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
