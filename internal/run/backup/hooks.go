package backup

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// HasHooks reports whether a run that is not frozen yet, or one of its targets, has hooks.
func (start *Start) HasHooks() bool {
	return slices.ContainsFunc(start.Targets, func(t StartTarget) bool { return hasHooksOn(start.Hooks, &t.Resolved) })
}

// hasHooksOn reports whether the run or the target has hooks that touch the target.
func hasHooksOn(ofRun *v1alpha1.ResolvedHooks, t *v1alpha1.ResolvedTarget) bool {
	return hookround.Has(ofRun, hookstage.Pre) || hookround.Has(ofRun, hookstage.Post) ||
		hookround.Has(t.Hooks, hookstage.Pre) || hookround.Has(t.Hooks, hookstage.Post)
}

// SharesHooks returns an unfinished run of the list that has hooks on a target on which start has hooks, too, or whose
// hooks meet those of start in the same pods. It returns nil if there is none. Two such runs at once would freeze and
// thaw each other's target.
func (start *Start) SharesHooks(sessions []v1alpha1.BackupSession) *v1alpha1.BackupSession {
	var own held
	own.add(hooksOf(start))
	for i := range start.Targets {
		own.add(onTarget(&start.Targets[i].Resolved))
	}
	for i := range sessions {
		s := &sessions[i]
		if s.Status.Phase.Terminal() || s.Status.Resolved == nil || v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		var theirs held
		theirs.add(s.Status.Resolved.Hooks)
		for j := range s.Status.Resolved.Targets {
			other := &s.Status.Resolved.Targets[j]
			theirs.add(onTarget(other))
			if hasHooksOn(s.Status.Resolved.Hooks, other) &&
				slices.ContainsFunc(start.Targets, func(t StartTarget) bool {
					return t.Resolved.AppRef == other.AppRef && hasHooksOn(start.Hooks, &t.Resolved)
				}) {
				return s
			}
		}
		if own.meets(theirs) {
			return s
		}
	}
	return nil
}

// hookError ends a run whose hooks can't be run. It waits a moment first if a missing HookTemplate or Function can
// still arrive with the policy.
func hookError(in Input, d *Decision) {
	e, until := in.Start.HookError, in.Start.Until(run.WaitForChild)
	if hook.MayCome(e.Reason) && in.Now.Before(until) {
		wait(in, d, e.Reason, run.Waiting(e.Message), until)
		return
	}
	end(in, d, v1alpha1.BackupSessionFailed, e.Reason, e.Message)
}

// hooksForRetry returns the frozen hooks of a failed run for the retry with this name.
func hooksForRetry(frozen *v1alpha1.ResolvedHooks, name string) *v1alpha1.ResolvedHooks {
	out := frozen.DeepCopy()
	if out == nil {
		return nil
	}
	out.Targets = nil
	for _, list := range [][]v1alpha1.ResolvedHook{out.Pre, out.Post} {
		for i := range list {
			for j := range list[i].Values {
				if list[i].Values[j].Name == hook.BackupSessionName {
					list[i].Values[j].Value = name
				}
			}
		}
	}
	return out
}

// hooksOf returns the hooks to freeze, with the targets that they concern.
func hooksOf(s *Start) *v1alpha1.ResolvedHooks {
	if s.Hooks == nil {
		return nil
	}
	out := s.Hooks.DeepCopy()
	for _, t := range s.Targets {
		out.Targets = append(out.Targets, t.Resolved.AppRef)
	}
	return out
}

// ending reports whether the work is over and the postBackup hooks have begun. From then on nothing of the backup
// changes.
func (r *runner) ending() bool { return hookround.PostBegun(r.d.Status.Hooks) }

// round returns this step of the hooks of the run.
func (r *runner) round() *hookround.Round {
	s := &r.d.Status
	return &hookround.Round{
		Now: r.Now, Kind: v1alpha1.BackupSessionKind, Owner: r.Session.Name,
		Hooks: s.Resolved.Hooks, Status: &s.Hooks, Results: r.Hooks, Jobs: r.Jobs,
		Since: s.StartTime, Summary: r.summary, Deadline: s.BackupDeadline,
		Report: &hookround.Report{
			Work: &hookround.Backup, Conditions: &s.Conditions, Generation: r.Session.Generation,
		},
		Decision: &r.d.Base, Delete: &r.d.Delete,
	}
}

// preBackup advances the preBackup hooks and reports whether they have ended. A failed hook stops the run.
func (r *runner) preBackup() bool {
	able := slices.ContainsFunc(r.d.Status.Resolved.Targets,
		func(t v1alpha1.ResolvedTarget) bool { return t.Error == nil })
	state, failures := r.round().Pre(r.stop, able)
	if failures != "" {
		r.stop = cmp.Or(r.stop, v1alpha1.ReasonFailedToExecutePreBackupHooks)
		r.why = hookround.Backup.NotDoneMessage(failures)
	}
	return state != hookround.UnderWay
}

// postBackup advances the postBackup hooks once every target has ended. It returns which of them failed, and whether
// they have ended, too.
func (r *runner) postBackup() (failures string, ended bool) {
	failed, done := r.outcome()
	state, failures := r.round().Post(hookround.WorkEnd{
		Skipped: !failed && !done, Failed: failed, LastTry: r.lastTry(),
	})
	if state == hookround.UnderWay {
		r.d.Status.Phase, r.d.Status.Reason = v1alpha1.BackupSessionRunning, v1alpha1.ReasonRunning
		return "", false
	}
	return failures, true
}

// lastTry reports whether no other run will retry what this run could not do.
func (r *runner) lastTry() bool { return r.Session.Spec.RetryLeft <= 0 || stopped(r.Session) }

// outcome reports whether a target has failed, and whether one was backed up.
func (r *runner) outcome() (failed, done bool) {
	for _, t := range r.d.Status.Targets {
		failed = failed || t.Phase == v1alpha1.BackupSessionFailed
		done = done || t.Phase == v1alpha1.BackupSessionSucceeded
	}
	return failed || len(r.d.Status.Targets) == 0, done
}

// about returns the part of the summary that all hooks of the run share.
func (r *runner) about() hook.Summary {
	return hook.Summary{
		Name: r.Session.Name, Namespace: r.Session.Namespace, Session: r.Session.Spec.Session,
		Invoker: hook.Object{
			APIGroup: r.Session.Spec.Invoker.APIGroup, Kind: r.Session.Spec.Invoker.Kind,
			Namespace: r.Session.Namespace, Name: r.Session.Spec.Invoker.Name,
		},
		RetryLeft: r.Session.Spec.RetryLeft,
		Status:    hook.Status{Phase: string(v1alpha1.BackupSessionRunning)},
	}
}

func hookObject(namespace string, app v1alpha1.TypedObjectReference) hook.Object {
	return hook.Object{APIGroup: app.APIGroup, Kind: app.Kind, Namespace: namespace, Name: app.Name}
}

// summary returns the run as its own hooks see it.
func (r *runner) summary() hook.Summary {
	s := &r.d.Status
	out := r.about()
	if s.StartTime != nil {
		out.Status.Duration = text.Duration(r.Now.Sub(s.StartTime.Time))
	}
	for _, t := range s.Targets {
		out.Targets = append(out.Targets, hookObject(r.Session.Namespace, t.AppRef))
	}
	if len(out.Targets) > 0 {
		out.Target = out.Targets[0]
	}
	if !r.ending() {
		return out
	}
	failed, _ := r.outcome()
	if out.Status.Phase = string(v1alpha1.BackupSessionSucceeded); failed {
		out.Status.Phase = string(v1alpha1.BackupSessionFailed)
		out.Status.Error = strings.Join(messagesOf(s.Targets), "; ")
	}
	return out
}

// messagesOf returns the messages of the targets that did not succeed.
func messagesOf(targets []v1alpha1.BackupTargetStatus) []string {
	var out []string
	for _, t := range targets {
		if t.Phase != v1alpha1.BackupSessionSucceeded {
			out = append(out, t.Name+": "+cmp.Or(t.Message, t.Reason))
		}
	}
	return out
}
