package restorebatch

import (
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// ending reports whether the work is over and the postRestore hooks have begun. From then on nothing is restored.
func (r *runner) ending() bool { return hookround.PostBegun(r.d.Status.Hooks) }

// round returns this step of the hooks.
func (r *runner) round() *hookround.Round {
	s := &r.d.Status
	return &hookround.Round{
		Now: r.Now, Kind: v1alpha1.RestoreBatchKind, Owner: r.Batch.Name,
		Hooks: s.Resolved.Hooks, Status: &s.Hooks, Results: r.Hooks, Jobs: r.Jobs,
		Since: s.StartTime, Summary: r.summary, Deadline: s.RestoreDeadline,
		Report: &hookround.Report{
			Work: &hookround.Restore, Conditions: &s.Conditions, Generation: r.Batch.Generation,
		},
		Decision: &r.d.Base, Delete: &r.d.DeleteJobs, ScaledUp: r.scaledUp,
	}
}

// preRestore advances the preRestore hooks and reports whether they have ended. If a hook failed, it has failed the
// targets by then.
func (r *runner) preRestore() bool {
	state, failure := r.round().Pre(r.stopReason(), true)
	switch state {
	case hookround.EndedBefore:
		r.refuse(failure)
		return true
	case hookround.EndedNow:
		// The end of the hooks is written to the status before anything is restored. Otherwise a manager that is killed
		// in between would run the hooks again beside the restore.
		r.d.After = run.EarlierOf(r.d.After, time.Second)
	}
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
				hookround.Restore.NotDoneMessage(failure))
		}
	}
}

// postRestore advances the postRestore hooks once all targets have ended. It returns which of them failed, and whether
// they have ended, too.
func (r *runner) postRestore() (failure string, ended bool) {
	if r.Workloads == nil && r.hookBegins() {
		r.d.Look = true
		return "", false
	}
	phase, _, _ := r.outcome()
	state, failure := r.round().Post(hookround.WorkEnd{Failed: !wellEnded(phase), LastTry: true})
	return failure, state != hookround.UnderWay
}

// hookBegins reports whether a postRestore hook may wait for pods of workloads that were scaled up.
func (r *runner) hookBegins() bool {
	return r.ending() && r.Batch.DeletionTimestamp == nil &&
		slices.ContainsFunc(r.d.Status.ScaledDown, func(w v1alpha1.ScaledWorkload) bool {
			return w.Phase == v1alpha1.ScaleUpDone
		}) &&
		slices.ContainsFunc(r.d.Status.Hooks.PostHooks, func(h v1alpha1.HookStatus) bool {
			return h.Phase == v1alpha1.HookRunning
		})
}

// scaledUp returns the workloads that were scaled up and in whose pods a hook may act, and those of them in whose pods
// it certainly does and that have no ready pod, or for a hook in all pods not all of them, or for one in a certain pod
// of a StatefulSet not this one. Where nobody wants pods any more, none will come. Who deletes the batch does not wait
// for them.
func (r *runner) scaledUp(h *v1alpha1.ResolvedHook) (workloads, unready []string) {
	if r.Batch.DeletionTimestamp != nil {
		return nil, nil
	}
	targets := r.d.Status.Resolved.Hooks.Targets
	for i := range r.d.Status.ScaledDown {
		w := &r.d.Status.ScaledDown[i]
		is := r.Workloads[w.String()]
		template := hook.Template{Labels: is.PodLabels}
		if w.Kind == v1alpha1.KindStatefulSet {
			template.StatefulSet = w.Name
		}
		if w.Phase != v1alpha1.ScaleUpDone || is.UID != w.UID || is.Replicas == 0 ||
			!hook.MayChoose(h, targets, template) {
			continue
		}
		workloads = append(workloads, w.String())
		if hook.Chooses(h, targets, template) && !isReady(h, &is, template.Only(h)) {
			unready = append(unready, w.String())
		}
	}
	return workloads, unready
}

// isReady reports whether the pods of a workload are ready in which a hook acts. only is the pod if it can be just one.
func isReady(h *v1alpha1.ResolvedHook, w *Workload, only string) bool {
	switch {
	case only != "":
		return slices.Contains(w.Ready, only)
	case hookstage.InOnePod(h):
		return len(w.Ready) > 0
	default:
		return len(w.Ready) >= int(w.Replicas)
	}
}

// summary returns the batch as its hooks see it.
func (r *runner) summary() hook.Summary {
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
	return summary
}
