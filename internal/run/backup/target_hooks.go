package backup

import (
	"cmp"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// preBackup advances the preBackup hooks of the target and reports whether they have ended. A failed hook stops the
// target.
func (t *targetRun) preBackup() bool {
	hooks := hookstage.PreOf(t.frozen.Hooks)
	if len(hooks) == 0 {
		return true
	}
	status := hookstage.Statuses(&t.status.Hooks)
	if !hookstage.Ended(status.PreHooks) || t.hookJobs().Lingering(hookstage.Pre, status.PreHooks) {
		stage := hookstage.Hooks{
			Target: t.frozen.Name, Room: t.run.room(hookstage.MaxText), Stage: hookstage.Pre, Now: t.run.Now,
			Hooks:   hooks,
			Results: t.run.Hooks, Status: status.PreHooks, Stop: t.stop,
			Functions: t.hookJobs(), Applies: func(*v1alpha1.ResolvedHook) bool { return true },
		}
		ended := stage.Advance()
		status.PreHooks = stage.Status
		t.take(&stage)
		if !ended {
			return false
		}
	}
	if failures := hookstage.Failures(status.PreHooks); failures != "" {
		t.stop = cmp.Or(t.stop, v1alpha1.ReasonFailedToExecutePreBackupHooks)
		t.why = "not backed up because a preBackup hook failed: " + failures
	}
	return true
}

// postBackup advances the postBackup hooks of a target that has begun, and reports whether they have ended. They run
// however the backup ended.
func (t *targetRun) postBackup() bool {
	hooks := hookstage.PostOf(t.frozen.Hooks)
	if len(hooks) == 0 {
		return true
	}
	status := hookstage.Statuses(&t.status.Hooks)
	if hookstage.Ended(status.PostHooks) && !t.hookJobs().Lingering(hookstage.Post, status.PostHooks) {
		return true
	}
	failed := t.status.Reason != v1alpha1.ReasonSucceeded
	stage := hookstage.Hooks{
		Target: t.frozen.Name, Room: t.run.room(hookstage.MaxText), Stage: hookstage.Post, Now: t.run.Now, Hooks: hooks,
		Results: t.run.Hooks, Status: status.PostHooks, Functions: t.hookJobs(),
		Applies: func(h *v1alpha1.ResolvedHook) bool {
			return hookstage.AppliesAfter(h.ExecutionPolicy, failed, t.run.lastTry())
		},
	}
	ended := stage.Advance()
	status.PostHooks = stage.Status
	t.take(&stage)
	return ended
}

func (t *targetRun) hookJobs() hookstage.Jobs {
	return hookstage.Jobs{
		Kind: v1alpha1.BackupSessionKind, Owner: t.run.Session.Name, Target: t.frozen.Name, Jobs: t.run.Jobs,
	}
}

// take adds what a hook stage of the target requests to the decision.
func (t *targetRun) take(stage *hookstage.Hooks) {
	t.run.take(stage)
	t.run.d.Hooks = append(t.run.d.Hooks, stage.Run(
		t.frozen.Hooks.Targets, t.status.StartTime, t.summary(stage.Stage))...)
	t.run.d.After = run.EarlierOf(t.run.d.After, stage.After)
}

// summary returns the target as its hooks see it.
func (t *targetRun) summary(stage hookstage.Stage) hook.Summary {
	out := t.run.about()
	out.Target = hookObject(t.run.Session.Namespace, t.frozen.AppRef)
	out.Targets = []hook.Object{out.Target}
	if t.status.StartTime != nil {
		out.Status.Duration = text.Duration(t.run.Now.Sub(t.status.StartTime.Time))
	}
	if stage == hookstage.Pre {
		return out
	}
	if out.Status.Phase = string(v1alpha1.BackupSessionSucceeded); t.status.Reason != v1alpha1.ReasonSucceeded {
		out.Status.Phase = string(v1alpha1.BackupSessionFailed)
		out.Status.Error = t.frozen.Name + ": " + cmp.Or(t.status.Message, t.status.Reason)
	}
	return out
}
