package restore

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/text"
)

// ending reports whether the work is over and the postRestore hooks have begun. From then on nothing is restored.
func (r *runner) ending() bool { return hookround.PostBegun(r.d.Status.Hooks) }

// round returns this step of the hooks.
func (r *runner) round() *hookround.Round {
	s := &r.d.Status
	return &hookround.Round{
		Now: r.Now, Kind: v1alpha1.RestoreSessionKind, Owner: r.Session.Name,
		Hooks: s.Resolved.Hooks, Status: &s.Hooks, Results: r.Hooks, Jobs: r.Jobs,
		Since: s.StartTime, Summary: r.summary, Deadline: s.RestoreDeadline,
		Report: &hookround.Report{
			Work: &hookround.Restore, Conditions: &s.Conditions, Generation: r.Session.Generation,
		},
		Decision: &r.d.Base, Delete: &r.d.Delete,
	}
}

// preRestore advances the preRestore hooks and reports whether they have ended. If a hook failed, it has failed the
// components by then.
func (r *runner) preRestore() bool {
	stop := r.stopReason()
	state, failure := r.round().Pre(stop, true)
	switch {
	case state == hookround.UnderWay:
		return false
	case state == hookround.EndedBefore:
		r.refuse(failure)
		return true
	case stop != "":
		return true // the restore ends for that reason
	}
	// The success of the hooks is written to the status before anything is restored. Otherwise a manager that is killed
	// in between would run the hooks again while a mover writes.
	r.d.After = run.EarlierOf(r.d.After, time.Second)
	r.refuse(failure)
	return failure != ""
}

// refuse fails everything that is not done because a preRestore hook failed.
func (r *runner) refuse(failure string) {
	if failure == "" || r.stopReason() != "" {
		return
	}
	for i := range r.d.Status.Resolved.Hosts {
		r.giveUp(&r.d.Status.Resolved.Hosts[i], v1alpha1.ReasonFailedToExecutePreRestoreHooks,
			hookround.Restore.NotDoneMessage(failure))
	}
}

// postRestore advances the postRestore hooks once all components have ended. It returns which of them
// failed, and whether they have ended.
func (r *runner) postRestore() (failure string, ended bool) {
	state, failure := r.round().Post(hookround.WorkEnd{Failed: r.failed(), LastTry: true})
	return failure, state != hookround.UnderWay
}

// failed reports whether a component did not succeed.
func (r *runner) failed() bool {
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
func (r *runner) stopReason() string {
	switch {
	case r.Session.DeletionTimestamp != nil:
		return v1alpha1.ReasonCancelled
	case r.late():
		return v1alpha1.ReasonDeadlineExceeded
	default:
		return ""
	}
}

// summary returns the restore as its hooks see it.
func (r *runner) summary() hook.Summary {
	s := &r.d.Status
	summary := hook.Summary{
		Name: r.Session.Name, Namespace: r.Session.Namespace,
		Status: hook.Status{
			Phase: string(v1alpha1.RestoreSessionRunning), Duration: text.Duration(r.Now.Sub(s.StartTime.Time)),
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
	return summary
}
