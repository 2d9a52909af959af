package session

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// HookJobName is the name of the Job of one attempt of a hook with a Function, by kind and name of whose hook it is. A manager that
// was stopped finds it by its name.
func HookJobName(kind, owner string, a HookAttempt) string {
	parts := []string{a.Name, strings.ToLower(kind), owner, string(a.Stage), strconv.Itoa(int(a.Number))}
	if a.Target != "" {
		parts = append(parts, a.Target)
	}
	return policy.JobName("hook", parts...)
}

// hookJobs are the Jobs of hooks with a Function, as a stage sees them.
type hookJobs struct {
	// kind and owner are those of the run or restore, and target is the name of its target whose hooks they are.
	kind, owner, target string
	// jobs of it that exist, by name.
	jobs map[string]Job
	// remove are those that must go, and verify says that one is given up that the cache may know too little of.
	remove []string
	verify bool
}

// of is the Job of the last attempt of a hook.
func (j *hookJobs) of(stage HookStage, st *v1alpha1.HookStatus) (name string, job Job, exists bool) {
	name = HookJobName(j.kind, j.owner, HookAttempt{Target: j.target, Stage: stage, Name: st.Name, Number: st.Attempts})
	job, exists = j.jobs[name]
	return name, job, exists
}

// lingers says whether the Job of an attempt that has ended is still at work. Nothing may begin beside it. It is deleted once the
// end of the attempt was written down: else nobody would know why it ended.
func (j *hookJobs) lingers(stage HookStage, st *v1alpha1.HookStatus, written bool) bool {
	if st.Attempts == 0 || st.Phase == v1alpha1.HookRunning {
		return false
	}
	name, job, exists := j.of(stage, st)
	if !exists || job.Finished {
		return false
	}
	if written {
		j.remove = append(j.remove, name)
	}
	return true
}

// lingering says whether any Job of a stage that has ended is still at work.
func (j hookJobs) lingering(stage HookStage, status []v1alpha1.HookStatus) bool {
	for i := range status {
		if j.lingers(stage, &status[i], false) {
			return true
		}
	}
	return false
}

// outcome of the attempt of a hook with a Function; nil where it has none yet. known is what making its Job came to. It says when to
// look again.
func (j *hookJobs) outcome(h *v1alpha1.ResolvedHook, stage HookStage, st *v1alpha1.HookStatus, known *HookOutcome, now time.Time) (*HookOutcome, time.Duration) {
	name, job, exists := j.of(stage, st)
	switch {
	case !exists && known != nil:
		return known, 0
	case !exists && st.Job == name:
		j.verify = true
		return &HookOutcome{Reason: v1alpha1.ReasonJobVanished, Message: "the Job was deleted before it ended"}, 0
	case !exists:
		return nil, 0
	}
	st.Job = name
	switch late := h.Timeout.Duration - now.Sub(job.Created); {
	case job.State == task.StateSucceeded:
		return &HookOutcome{}, 0
	case job.State == task.StateFailed && job.Reason == v1alpha1.ReasonDeadlineExceeded, job.State != task.StateFailed && late <= 0:
		j.verify = true
		return timedOut(h), 0
	case job.State == task.StateFailed:
		j.verify = true
		return &HookOutcome{
			Reason: cmp.Or(job.Reason, v1alpha1.ReasonJobFailed), Message: job.Message + ", in the Job " + name, Stderr: job.Output,
		}, 0
	default:
		return nil, max(sooner(late, job.Recheck), time.Second)
	}
}

func timedOut(h *v1alpha1.ResolvedHook) *HookOutcome {
	return &HookOutcome{Reason: v1alpha1.ReasonHookTimeout, Message: "it did not end within " + h.Timeout.Duration.String()}
}
