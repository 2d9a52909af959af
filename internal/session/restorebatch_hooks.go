package session

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
)

// ending reports whether the work is over and the postRestore hooks have begun. From then on nothing is restored.
func (r *batchRestore) ending() bool {
	return r.d.Status.Hooks != nil && len(r.d.Status.Hooks.PostHooks) > 0
}

// preRestore advances the preRestore hooks and reports whether they have ended. If a hook failed, it has failed the
// targets by then.
func (r *batchRestore) preRestore() bool {
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
		r.Batch.Generation, r.Now)
	progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", r.Batch.Generation, r.Now)
	// The end of the hooks is written to the status before anything is restored. Otherwise a manager that is killed in
	// between would run the hooks again beside the restore.
	r.d.After = sooner(r.d.After, time.Second)
	return false
}

// refuse fails every target because a preRestore hook failed.
func (r *batchRestore) refuse(failure string) {
	if failure == "" || r.stopReason() != "" {
		return
	}
	for i := range r.d.Status.Targets {
		if t := &r.d.Status.Targets[i]; !t.Phase.Terminal() && t.RestoreSession == "" {
			r.fail(t, v1alpha1.ReasonFailedToExecutePreRestoreHooks,
				"not restored because a preRestore hook failed: "+failure)
		}
	}
}

// postRestore advances the postRestore hooks once all targets have ended. It returns which of them failed, and whether
// they have ended, too.
func (r *batchRestore) postRestore() (failure string, ended bool) {
	s := &r.d.Status
	if len(postHooks(s.Resolved.Hooks)) == 0 {
		return "", true
	}
	status := statuses(&s.Hooks)
	if hooksEnded(status.PostHooks) && !r.hookJobs().lingering(PostHooks, status.PostHooks) {
		return hookFailures(status.PostHooks), true
	}
	phase, _, _ := r.outcome()
	stage := hookStage{
		stage: PostHooks, now: r.Now, hooks: s.Resolved.Hooks.Post, results: r.Hooks, status: status.PostHooks,
		functions: r.hookJobs(),
		applies: func(h *v1alpha1.ResolvedHook) bool {
			return appliesAfter(h.ExecutionPolicy, !wellEnded(phase), true)
		},
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
		r.Batch.Generation, r.Now)
	return hookFailures(status.PostHooks), true
}

// take adds what a hook stage requests to the decision.
func (r *batchRestore) take(stage *hookStage) {
	r.d.DeleteJobs = append(r.d.DeleteJobs, stage.functions.remove...)
	r.d.Verify = r.d.Verify || stage.functions.verify
	r.d.StopHooks = append(r.d.StopHooks, stage.stopped...)
}

func (r *batchRestore) hookJobs() hookJobs {
	return hookJobs{kind: v1alpha1.RestoreBatchKind, owner: r.Batch.Name, jobs: r.Jobs}
}

// hooksRun puts running hooks into the decision and the conditions.
func (r *batchRestore) hooksRun(stage *hookStage, message string) {
	s := &r.d.Status
	summary := hook.Summary{
		Name: r.Batch.Name, Namespace: r.Batch.Namespace,
		Status: hook.Status{
			Phase: string(v1alpha1.RestoreSessionRunning), Duration: FormatDuration(r.Now.Sub(s.StartTime.Time)),
		},
	}
	for i := range s.Resolved.Targets {
		if t := s.Resolved.Targets[i].Target; t != nil {
			summary.Targets = append(summary.Targets, hook.Object{
				APIGroup: t.APIGroup, Kind: t.Kind, Namespace: r.Batch.Namespace, Name: t.Name,
			})
		}
	}
	if len(summary.Targets) > 0 {
		summary.Target = summary.Targets[0]
	}
	if r.ending() {
		phase, _, failure := r.outcome()
		summary.Status.Phase = string(phase)
		if !wellEnded(phase) {
			summary.Status.Phase, summary.Status.Error = string(v1alpha1.RestoreSessionFailed), failure
		}
	}
	r.d.Hooks = stage.run(s.Resolved.Hooks.Targets, s.StartTime, summary)
	r.d.After = sooner(stage.after, r.d.After)
	progress(&s.Conditions, v1alpha1.ReasonRunning, message, r.Batch.Generation, r.Now)
}
