package session

import (
	"cmp"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
)

// preBackup advances the preBackup hooks of the target and reports whether they have ended. A failed hook stops the
// target.
func (t *targetRun) preBackup() bool {
	hooks := preHooks(t.frozen.Hooks)
	if len(hooks) == 0 {
		return true
	}
	status := statuses(&t.status.Hooks)
	if !hooksEnded(status.PreHooks) || t.hookJobs().lingering(PreHooks, status.PreHooks) {
		stage := hookStage{
			target: t.frozen.Name, room: t.run.room(maxHookText), stage: PreHooks, now: t.run.Now, hooks: hooks,
			results: t.run.Hooks, status: status.PreHooks, stop: t.stop,
			functions: t.hookJobs(), applies: func(*v1alpha1.ResolvedHook) bool { return true },
		}
		ended := stage.advance()
		status.PreHooks = stage.status
		t.take(&stage)
		if !ended {
			return false
		}
	}
	if failures := hookFailures(status.PreHooks); failures != "" {
		t.stop = cmp.Or(t.stop, v1alpha1.ReasonFailedToExecutePreBackupHooks)
		t.why = "not backed up because a preBackup hook failed: " + failures
	}
	return true
}

// postBackup advances the postBackup hooks of a target that has begun, and reports whether they have ended. They run
// however the backup ended.
func (t *targetRun) postBackup() bool {
	hooks := postHooks(t.frozen.Hooks)
	if len(hooks) == 0 {
		return true
	}
	status := statuses(&t.status.Hooks)
	if hooksEnded(status.PostHooks) && !t.hookJobs().lingering(PostHooks, status.PostHooks) {
		return true
	}
	failed := t.status.Reason != v1alpha1.ReasonSucceeded
	stage := hookStage{
		target: t.frozen.Name, room: t.run.room(maxHookText), stage: PostHooks, now: t.run.Now, hooks: hooks,
		results: t.run.Hooks, status: status.PostHooks, functions: t.hookJobs(),
		applies: func(h *v1alpha1.ResolvedHook) bool {
			return appliesAfter(h.ExecutionPolicy, failed, t.run.lastTry())
		},
	}
	ended := stage.advance()
	status.PostHooks = stage.status
	t.take(&stage)
	return ended
}

func (t *targetRun) hookJobs() hookJobs {
	return hookJobs{
		kind: v1alpha1.BackupSessionKind, owner: t.run.Session.Name, target: t.frozen.Name, jobs: t.run.Jobs,
	}
}

// take adds what a hook stage of the target requests to the decision.
func (t *targetRun) take(stage *hookStage) {
	t.run.take(stage)
	t.run.d.Hooks = append(t.run.d.Hooks, stage.run(
		t.frozen.Hooks.Targets, t.status.StartTime, t.summary(stage.stage))...)
	t.run.d.After = sooner(t.run.d.After, stage.after)
}

// summary returns the target as its hooks see it.
func (t *targetRun) summary(stage HookStage) hook.Summary {
	out := t.run.about()
	out.Target = hookObject(t.run.Session.Namespace, t.frozen.AppRef)
	out.Targets = []hook.Object{out.Target}
	if t.status.StartTime != nil {
		out.Status.Duration = FormatDuration(t.run.Now.Sub(t.status.StartTime.Time))
	}
	if stage == PreHooks {
		return out
	}
	if out.Status.Phase = string(v1alpha1.BackupSessionSucceeded); t.status.Reason != v1alpha1.ReasonSucceeded {
		out.Status.Phase = string(v1alpha1.BackupSessionFailed)
		out.Status.Error = t.frozen.Name + ": " + cmp.Or(t.status.Message, t.status.Reason)
	}
	return out
}
