package hookstage

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// JobName returns the name of the Job for one attempt of a hook with a Function. kind and owner name the object
// that the hook belongs to. A restarted manager finds the Job by this name.
func JobName(kind, owner string, a Attempt) string {
	parts := []string{a.Name, strings.ToLower(kind), owner, string(a.Stage), strconv.Itoa(int(a.Number))}
	if a.Target != "" {
		parts = append(parts, a.Target)
	}
	return policy.JobName("hook", parts...)
}

// Jobs are the Jobs of hooks with a Function, as a stage sees them.
type Jobs struct {
	// Kind and Owner name the run or restore. Target names the target that the hooks belong to, if any.
	Kind, Owner, Target string
	// Jobs holds the existing Jobs of the run or restore, by name.
	Jobs map[string]run.Job
	// Remove names the Jobs to delete. Verify means that a Job is given up and the cache can be too old to decide that.
	Remove []string
	Verify bool
}

// of returns the Job of the last attempt of a hook.
func (j *Jobs) of(stage Stage, st *v1alpha1.HookStatus) (name string, job run.Job, exists bool) {
	name = JobName(j.Kind, j.Owner, Attempt{Target: j.Target, Stage: stage, Name: st.Name, Number: st.Attempts})
	job, exists = j.Jobs[name]
	return name, job, exists
}

// lingers reports whether the Job of an attempt that has ended still runs. Nothing is allowed to begin beside it. The
// Job is deleted only once the end of the attempt is written to the status; otherwise nobody would know why it ended.
func (j *Jobs) lingers(stage Stage, st *v1alpha1.HookStatus, written bool) bool {
	if st.Attempts == 0 || st.Phase == v1alpha1.HookRunning {
		return false
	}
	name, job, exists := j.of(stage, st)
	if !exists || job.Finished {
		return false
	}
	if written {
		j.Remove = append(j.Remove, name)
	}
	return true
}

// lingering reports whether the Job of any attempt that has ended still runs.
func (j *Jobs) lingering(stage Stage, status []v1alpha1.HookStatus) bool {
	for i := range status {
		if j.lingers(stage, &status[i], false) {
			return true
		}
	}
	return false
}

// outcome returns the outcome of the running attempt, or nil while it has none.
func (s *Hooks) outcome(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus, attempt Attempt) *Outcome {
	known := s.Results(attempt)
	if known != nil && known.UnderWay {
		known = nil
	}
	if h.Function == nil {
		return known
	}
	out, after := s.Functions.outcome(h, s.Stage, st, known, s.Now)
	s.After = after
	return out
}

// outcome returns the outcome of the last attempt of a hook with a Function, or nil while it has none, and when to look
// again. known is the result of making its Job.
func (j *Jobs) outcome(
	h *v1alpha1.ResolvedHook, stage Stage, st *v1alpha1.HookStatus, known *Outcome, now time.Time,
) (*Outcome, time.Duration) {
	name, job, exists := j.of(stage, st)
	switch {
	case !exists && known != nil:
		return known, 0
	case !exists && st.Job == name:
		j.Verify = true
		return &Outcome{Reason: v1alpha1.ReasonJobVanished, Message: "the Job was deleted before it ended"}, 0
	case !exists:
		return nil, 0
	}
	st.Job = name
	since := job.Created
	if v1alpha1.Ahead(since, now) && st.StartTime != nil { // the API server's clock was ahead, or the manager is behind
		since = st.StartTime.Time
	}
	switch late := run.Left(since.Add(h.Timeout.Duration), h.Timeout.Duration, now); {
	case job.State == observe.StateSucceeded:
		return &Outcome{}, 0
	case job.State == observe.StateFailed && job.Reason == v1alpha1.ReasonDeadlineExceeded,
		job.State != observe.StateFailed && late <= 0:
		j.Verify = true
		return timedOut(h), 0
	case job.State == observe.StateFailed:
		j.Verify = true
		return &Outcome{
			Reason: cmp.Or(job.Reason, v1alpha1.ReasonJobFailed), Message: "in the Job " + name + ": " + job.Message,
			Stderr: job.Output,
		}, 0
	default:
		return nil, max(run.EarlierOf(late, job.Recheck), time.Second)
	}
}

func timedOut(h *v1alpha1.ResolvedHook) *Outcome {
	return &Outcome{
		Reason: v1alpha1.ReasonHookTimeout, Message: "it did not end within " + h.Timeout.Duration.String(),
	}
}
