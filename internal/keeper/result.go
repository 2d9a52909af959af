package keeper

import (
	"cmp"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/text"
)

// ResultOf returns the result of the i-th repository of a keeper's Job. A repository without a result failed with the
// reason of the Job. A reason with which only the manager waits becomes Failed. RemovalPending stays: deleted data came
// back, and Cairn deletes it again.
func ResultOf(o observe.Observation, i int) task.ComponentResult {
	if o.Result != nil {
		for _, c := range o.Result.Components {
			if c.Name == strconv.Itoa(i) {
				c.Reason = reasonOf(c.Reason)
				c.Error = cmp.Or(c.Error, c.Reason)
				return c
			}
		}
	}
	reason := reasonOf(o.Reason)
	if o.State == observe.StateSucceeded {
		reason = v1alpha1.ReasonFailed
	}
	return task.ComponentResult{
		Outcome: task.OutcomeFailed, Reason: reason,
		Error: cmp.Or(o.Message, "the keeper reported no result"),
	}
}

// Undone is a part of the work that failed, and why.
type Undone struct {
	*Work
	Reason, Message string
	Late            bool // see task.Step
}

// Split splits the work by its result: what was done, and what failed. The removal of Snapshots, the maintenance and
// the check each have a result of their own. Without one, the result of the whole counts for them.
func (w *Work) Split(result task.ComponentResult) (done *Work, failed []Undone) {
	done = &Work{Repository: w.Repository, Began: w.Began}
	part := func(step *task.Step, asked bool, add func(*Work)) {
		switch {
		case !asked:
			return
		case step == nil && result.Outcome == task.OutcomeSucceeded, step != nil && step.Reason == "":
			add(done)
			return
		}
		u := Undone{
			Work: &Work{Repository: w.Repository, Began: w.Began}, Reason: result.Reason, Message: result.Error,
		}
		if step != nil {
			u.Reason, u.Late = reasonOf(step.Reason), step.Late
			u.Message = cmp.Or(step.Error, u.Reason)
		}
		add(u.Work)
		failed = append(failed, u)
	}
	part(nil, w.Wipe, func(to *Work) { to.Wipe = true })
	part(result.Removal, len(w.Snapshots) > 0, func(to *Work) { to.Snapshots = w.Snapshots })
	part(result.Maintenance, w.Maintain != "", func(to *Work) { to.Maintain = w.Maintain })
	check := result.Check
	if check == nil && result.Maintenance != nil { // there was nothing to check
		check = &task.Step{}
	}
	// Without a result of its own it was not tried: the maintenance that is due again brings another one.
	tried := check != nil || result.Outcome == task.OutcomeSucceeded || w.Maintain == ""
	part(check, w.Checks && tried, func(to *Work) { to.Checks, to.Check = true, w.Check })
	return done, failed
}

// TriedCheck reports whether a check came to an end of its own: it was done, it took too long, or it fails for a reason
// that nobody knows. Whatever keeps it from running, or from the storage, can pass. A check of one component that is
// late can be so for ever, as long as the keeper has as much else to do.
func (w *Work) TriedCheck(result task.ComponentResult) bool {
	switch step := result.Check; {
	case !w.Checks:
		return false
	case w.outOfMemory(result):
		return w.OnlyCheck
	case step == nil:
		return result.Outcome == task.OutcomeSucceeded
	default:
		return step.Reason == "" || step.Reason == v1alpha1.ReasonDeadlineExceeded || step.Late ||
			reasonOf(step.Reason) == v1alpha1.ReasonFailed
	}
}

// outOfMemory reports whether a keeper that had no maintenance to do was killed for its memory. The check can have
// taken it.
func (w *Work) outOfMemory(result task.ComponentResult) bool {
	return w.Checks && w.Maintain == "" && result.Check == nil && w.OOMKilled
}

// OnlyCheck reports whether a Job with this task had nothing to do but a check in one Repository. A Job reports at its
// end what it did, so of any other one that was killed nobody knows what took its memory.
func OnlyCheck(t *task.Task) bool {
	if len(t.Keep) != 1 {
		return false
	}
	k := &t.Keep[0]
	return len(k.Check) > 0 && k.Maintain == "" && len(k.Remove) == 0 && !k.Wipe && k.Scan == ""
}

// Ended returns how the work ended.
func (w *Work) Ended(result task.ComponentResult) Ended {
	out := Ended{Failed: result.Outcome != task.OutcomeSucceeded, Checked: w.Checks, Killed: w.OOMKilled}
	switch {
	case !w.Checks:
	case result.Check != nil && result.Check.Reason == v1alpha1.ReasonDeadlineExceeded, w.outOfMemory(result):
		out.TooMany = len(w.Check)
	default:
		out.Verified = min(len(w.Check), int(result.Verified))
	}
	return out
}

// Conditions returns the conditions of the Repository that say how the work went.
func (w *Work) Conditions() []string {
	var out []string
	if w.Repository == nil {
		return nil
	}
	if w.Wipe {
		out = append(out, v1alpha1.ConditionWiped)
	}
	if w.Maintain != "" {
		out = append(out, v1alpha1.ConditionMaintained)
	}
	if w.Checks {
		out = append(out, v1alpha1.ConditionChecked)
	}
	if w.Scan != "" {
		out = append(out, v1alpha1.ConditionScanned)
	}
	return out
}

// ConditionsOf returns the conditions of the Repository that say that the work failed for a reason. A removal alone has
// none. But if it finds that the repository, or a part of it, is gone, the Repository must say so: an init Job and a
// check look at it then.
func (w *Work) ConditionsOf(reason string) []string {
	out := w.Conditions()
	if len(out) == 0 && w.Repository != nil && len(w.Snapshots) > 0 && reason == v1alpha1.ReasonRepositoryNotFound {
		out = append(out, v1alpha1.ConditionMaintained)
	}
	return out
}

// Left says what a wipe has left, or returns "".
func Left(result task.ComponentResult) string {
	if result.LeftFiles == 0 {
		return ""
	}
	out := ", except for " + text.Quantity(result.LeftFiles, "file") +
		" that Cairn did not put there for this Repository"
	if len(result.LeftPlaces) > 0 {
		out += ": others have put a repository or storage into " + strings.Join(result.LeftPlaces, ", ")
	}
	return out
}

// reasonOf returns the reason of a failed Job.
func reasonOf(reported string) string {
	if reported == "" || retention.Waits(reported) && reported != v1alpha1.ReasonRemovalPending {
		return v1alpha1.ReasonFailed
	}
	return reported
}

// Final reports whether a keeper's Job needs no further observation: it has ended or hangs.
func Final(o observe.Observation) bool {
	return o.State == observe.StateSucceeded || o.State == observe.StateFailed
}

// EndOf returns when a Job ended, at the latest now. A Job that hangs is given up now.
func EndOf(job *batchv1.Job, now metav1.Time) metav1.Time {
	if c := observe.End(job); c != nil && !c.LastTransitionTime.After(now.Time) {
		return c.LastTransitionTime
	}
	return now.Rfc3339Copy()
}
