package restorebatch

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// ending reports whether the work is over and the postRestore hooks have begun. From then on nothing is restored.
func (r *runner) ending() bool {
	return r.d.Status.Hooks != nil && len(r.d.Status.Hooks.PostHooks) > 0
}

// preRestore advances the preRestore hooks and reports whether they have ended. If a hook failed, it has failed the
// targets by then.
func (r *runner) preRestore() bool {
	s := &r.d.Status
	if len(hookstage.PreOf(s.Resolved.Hooks)) == 0 {
		return true
	}
	status := hookstage.Statuses(&s.Hooks)
	if hookstage.Ended(status.PreHooks) && !r.hookJobs().Lingering(hookstage.Pre, status.PreHooks) {
		r.refuse(hookstage.Failures(status.PreHooks))
		return true
	}
	stage := hookstage.Hooks{
		Stage: hookstage.Pre, Now: r.Now, Hooks: s.Resolved.Hooks.Pre, Results: r.Hooks, Status: status.PreHooks,
		Stop:      r.stopReason(),
		Functions: r.hookJobs(),
		Applies:   func(*v1alpha1.ResolvedHook) bool { return true },
	}
	ended := stage.Advance()
	status.PreHooks = stage.Status
	r.take(&stage)
	if !ended {
		r.hooksRun(&stage, "the preRestore hooks run")
		r.d.After = run.EarlierOf(r.d.After, max(s.RestoreDeadline.Sub(r.Now), time.Second))
		return false
	}
	hookstage.SetCondition(&s.Conditions, v1alpha1.ConditionPreRestoreHooksExecutionSucceeded, status.PreHooks,
		"preRestore",
		v1alpha1.ReasonSuccessfullyExecutedPreRestoreHooks, v1alpha1.ReasonFailedToExecutePreRestoreHooks,
		r.Batch.Generation, r.Now)
	run.Progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", r.Batch.Generation, r.Now)
	// The end of the hooks is written to the status before anything is restored. Otherwise a manager that is killed in
	// between would run the hooks again beside the restore.
	r.d.After = run.EarlierOf(r.d.After, time.Second)
	return false
}

// refuse fails every target because a preRestore hook failed.
func (r *runner) refuse(failure string) {
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
func (r *runner) postRestore() (failure string, ended bool) {
	s := &r.d.Status
	if len(hookstage.PostOf(s.Resolved.Hooks)) == 0 {
		return "", true
	}
	status := hookstage.Statuses(&s.Hooks)
	if hookstage.Ended(status.PostHooks) && !r.hookJobs().Lingering(hookstage.Post, status.PostHooks) {
		return hookstage.Failures(status.PostHooks), true
	}
	phase, _, _ := r.outcome()
	stage := hookstage.Hooks{
		Stage: hookstage.Post, Now: r.Now, Hooks: s.Resolved.Hooks.Post, Results: r.Hooks, Status: status.PostHooks,
		Functions: r.hookJobs(),
		Applies: func(h *v1alpha1.ResolvedHook) bool {
			return hookstage.AppliesAfter(h.ExecutionPolicy, !wellEnded(phase), true)
		},
	}
	ended = stage.Advance()
	status.PostHooks = stage.Status
	r.take(&stage)
	if !ended {
		r.hooksRun(&stage, "the postRestore hooks run")
		return "", false
	}
	hookstage.SetCondition(&s.Conditions, v1alpha1.ConditionPostRestoreHooksExecutionSucceeded, status.PostHooks,
		"postRestore",
		v1alpha1.ReasonSuccessfullyExecutedPostRestoreHooks, v1alpha1.ReasonFailedToExecutePostRestoreHooks,
		r.Batch.Generation, r.Now)
	return hookstage.Failures(status.PostHooks), true
}

// take adds what a hook stage requests to the decision.
func (r *runner) take(stage *hookstage.Hooks) {
	r.d.DeleteJobs = append(r.d.DeleteJobs, stage.Functions.Remove...)
	r.d.Verify = r.d.Verify || stage.Functions.Verify
	r.d.StopHooks = append(r.d.StopHooks, stage.Stopped...)
}

func (r *runner) hookJobs() hookstage.Jobs {
	return hookstage.Jobs{Kind: v1alpha1.RestoreBatchKind, Owner: r.Batch.Name, Jobs: r.Jobs}
}

// hooksRun puts running hooks into the decision and the conditions.
func (r *runner) hooksRun(stage *hookstage.Hooks, message string) {
	s := &r.d.Status
	summary := hook.Summary{
		Name: r.Batch.Name, Namespace: r.Batch.Namespace,
		Status: hook.Status{
			Phase: string(v1alpha1.RestoreSessionRunning), Duration: text.Duration(r.Now.Sub(s.StartTime.Time)),
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
	r.d.Hooks = stage.Run(s.Resolved.Hooks.Targets, s.StartTime, summary)
	r.d.After = run.EarlierOf(stage.After, r.d.After)
	run.Progress(&s.Conditions, v1alpha1.ReasonRunning, message, r.Batch.Generation, r.Now)
}
