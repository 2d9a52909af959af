package session

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
)

// ending reports whether the work is over and the postRestore hooks have begun. From then on nothing is restored.
func (r *restoreRun) ending() bool {
	return r.d.Status.Hooks != nil && len(r.d.Status.Hooks.PostHooks) > 0
}

// preRestore advances the preRestore hooks and reports whether they have ended. If a hook failed, it has failed the
// components by then.
func (r *restoreRun) preRestore() bool {
	s := &r.d.Status
	if len(preHooks(s.Resolved.Hooks)) == 0 {
		return true
	}
	status := statuses(&s.Hooks)
	if hooksEnded(status.PreHooks) && !r.hookJobs().lingering(PreHooks, status.PreHooks) {
		r.refuse(hookFailures(status.PreHooks))
		return true
	}
	stage := hookStage{
		stage: PreHooks, now: r.Now, hooks: s.Resolved.Hooks.Pre, results: r.Hooks, status: status.PreHooks,
		stop:      r.stopReason(),
		functions: r.hookJobs(),
		applies:   func(*v1alpha1.ResolvedHook) bool { return true },
	}
	ended := stage.advance()
	status.PreHooks = stage.status
	r.take(&stage)
	if !ended {
		r.hooksRun(&stage, "the preRestore hooks run")
		r.d.After = sooner(r.d.After, max(s.RestoreDeadline.Sub(r.Now), time.Second))
		return false
	}
	setHooks(&s.Conditions, v1alpha1.ConditionPreRestoreHooksExecutionSucceeded, status.PreHooks, "preRestore",
		v1alpha1.ReasonSuccessfullyExecutedPreRestoreHooks, v1alpha1.ReasonFailedToExecutePreRestoreHooks,
		r.Session.Generation, r.Now)
	progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", r.Session.Generation, r.Now)
	if stage.stop != "" {
		return true // the restore ends for that reason
	}
	// The success of the hooks is written to the status before anything is restored. Otherwise a manager that is killed
	// in between would run the hooks again while a mover writes.
	r.d.After = sooner(r.d.After, time.Second)
	failure := hookFailures(status.PreHooks)
	r.refuse(failure)
	return failure != ""
}

// refuse fails everything that is not done because a preRestore hook failed.
func (r *restoreRun) refuse(failure string) {
	if failure == "" || r.stopReason() != "" {
		return
	}
	for i := range r.d.Status.Resolved.Hosts {
		r.giveUp(&r.d.Status.Resolved.Hosts[i], v1alpha1.ReasonFailedToExecutePreRestoreHooks,
			"not restored because a preRestore hook failed: "+failure)
	}
}

// postRestore advances the postRestore hooks once all components have ended. It returns which of them failed, and
// whether they have ended, too.
func (r *restoreRun) postRestore() (failure string, ended bool) {
	s := &r.d.Status
	if len(postHooks(s.Resolved.Hooks)) == 0 {
		return "", true
	}
	status := statuses(&s.Hooks)
	if hooksEnded(status.PostHooks) && !r.hookJobs().lingering(PostHooks, status.PostHooks) {
		return hookFailures(status.PostHooks), true
	}
	failed := r.failed()
	stage := hookStage{
		stage: PostHooks, now: r.Now, hooks: s.Resolved.Hooks.Post, results: r.Hooks, status: status.PostHooks,
		functions: r.hookJobs(),
		applies:   func(h *v1alpha1.ResolvedHook) bool { return appliesAfter(h.ExecutionPolicy, failed, true) },
	}
	ended = stage.advance()
	status.PostHooks = stage.status
	r.take(&stage)
	if !ended {
		r.hooksRun(&stage, "the postRestore hooks run")
		return "", false
	}
	setHooks(&s.Conditions, v1alpha1.ConditionPostRestoreHooksExecutionSucceeded, status.PostHooks, "postRestore",
		v1alpha1.ReasonSuccessfullyExecutedPostRestoreHooks, v1alpha1.ReasonFailedToExecutePostRestoreHooks,
		r.Session.Generation, r.Now)
	return hookFailures(status.PostHooks), true
}

// take adds what a hook stage requests to the decision.
func (r *restoreRun) take(stage *hookStage) {
	r.d.Delete = append(r.d.Delete, stage.functions.remove...)
	r.d.Verify = r.d.Verify || stage.functions.verify
	r.d.StopHooks = append(r.d.StopHooks, stage.stopped...)
}

func (r *restoreRun) hookJobs() hookJobs {
	return hookJobs{kind: v1alpha1.RestoreSessionKind, owner: r.Session.Name, jobs: r.Jobs}
}

// failed reports whether a component did not succeed.
func (r *restoreRun) failed() bool {
	for _, h := range r.d.Status.Resolved.Hosts {
		for _, v := range h.Volumes {
			if r.d.Status.Components[v.Component].Phase != v1alpha1.RestoreSessionSucceeded {
				return true
			}
		}
	}
	return len(r.d.Status.Resolved.Hosts) == 0
}

// stopReason returns why a restore that has not begun must not begin, or "".
func (r *restoreRun) stopReason() string {
	switch {
	case r.Session.DeletionTimestamp != nil:
		return v1alpha1.ReasonCancelled
	case r.late():
		return v1alpha1.ReasonDeadlineExceeded
	default:
		return ""
	}
}

// hooksRun puts running hooks into the decision and the conditions.
func (r *restoreRun) hooksRun(stage *hookStage, message string) {
	s := &r.d.Status
	summary := hook.Summary{
		Name: r.Session.Name, Namespace: r.Session.Namespace,
		Status: hook.Status{
			Phase: string(v1alpha1.RestoreSessionRunning), Duration: FormatDuration(r.Now.Sub(s.StartTime.Time)),
		},
	}
	if t := r.Session.Spec.Target; t != nil {
		summary.Target = hook.Object{APIGroup: t.APIGroup, Kind: t.Kind, Namespace: r.Session.Namespace, Name: t.Name}
		summary.Targets = []hook.Object{summary.Target}
	}
	if r.ending() {
		summary.Status.Phase = string(v1alpha1.RestoreSessionSucceeded)
		if r.failed() {
			summary.Status.Phase = string(v1alpha1.RestoreSessionFailed)
			_, summary.Status.Error = r.failure()
		}
	}
	r.d.Hooks = stage.run(s.Resolved.Hooks.Targets, s.StartTime, summary)
	r.d.After = sooner(stage.after, r.d.After)
	progress(&s.Conditions, v1alpha1.ReasonRunning, message, r.Session.Generation, r.Now)
}
