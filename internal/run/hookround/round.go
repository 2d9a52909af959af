// Package hookround decides about the hooks around a piece of work: the pre hooks, then the work, then the post hooks.
// A run, each of its targets, a restore and a batch all take their hooks through it. It is pure.
package hookround

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// State is how far the hooks of one stage are after a step.
type State int

// The states of a stage.
const (
	// EndedBefore means that the stage has no hooks, or that all of them had ended before this step.
	EndedBefore State = iota
	// EndedNow means that the last hook ended in this step.
	EndedNow
	// UnderWay means that a hook has not ended, or that the Job of a hook still runs.
	UnderWay
)

// Round is one step of the hooks around the work of an owner: a run, a target of a run, a restore or a batch.
type Round struct {
	// Now is the time of the step.
	Now time.Time
	// Kind and Owner name the object. Target names the target of a run that owns the hooks, if one does.
	Kind, Owner, Target string
	// Hooks are the frozen hooks of the owner. Nil means that it has none.
	Hooks *v1alpha1.ResolvedHooks
	// Status points to the statuses of the hooks. They are created with the first hook.
	Status **v1alpha1.HookStatuses
	// Results returns how attempts ended, and Jobs holds the existing Jobs by name.
	Results hookstage.Results
	Jobs    map[string]run.Job
	// Room is the longest text of a hook. Zero means the limit of the API.
	Room int
	// Since is when the work of the owner began. Summary returns its state for hooks that run now.
	Since   *metav1.Time
	Summary func() hook.Summary
	// ScaledUp tells the post hooks about the workloads that the owner scaled up: see hookstage.Hooks. Nil means that
	// it scales none.
	ScaledUp func(*v1alpha1.ResolvedHook) (workloads, unready []string)
	// Deadline wakes the owner while its pre hooks run. Nil means that others do so.
	Deadline *metav1.Time
	// Report says where conditions tell about the hooks. Nil means that no condition does.
	Report *Report
	// Decision takes what the hooks ask for, and Delete takes the names of the Jobs to delete.
	Decision *decision.Base
	Delete   *[]string
}

// WorkEnd is how the work between the hooks ended.
type WorkEnd struct {
	// Skipped means that nothing was tried, so no post hook runs.
	Skipped bool
	// Failed means that a part of the work did not succeed.
	Failed bool
	// LastTry means that no other run will retry what failed.
	LastTry bool
}

// Pre takes the pre hooks as far as they can go now. It returns their state and, once they have ended, which of them
// failed. stop is why the hooks must end now, or "". Unless able is true no work can follow, and the hooks are skipped.
func (r *Round) Pre(stop string, able bool) (state State, failures string) {
	if !Has(r.Hooks, hookstage.Pre) {
		return EndedBefore, ""
	}
	status := statuses(r.Status)
	stage := r.stage(hookstage.Pre, r.Hooks.Pre, status.PreHooks)
	if stage.Over() {
		return EndedBefore, hookstage.Failures(status.PreHooks)
	}
	stage.Stop, stage.Applies = stop, func(*v1alpha1.ResolvedHook) bool { return able }
	ended := stage.Advance()
	status.PreHooks = stage.Status
	if !ended && stop == "" {
		r.Decision.After = run.EarlierOf(r.Decision.After, run.Until(r.Deadline, r.Now))
	}
	return r.advanced(stage, ended)
}

// Post takes the post hooks as far as they can go now, after the work has ended. It returns their state and, once
// they have ended, which of them failed.
func (r *Round) Post(work WorkEnd) (state State, failures string) {
	if !Has(r.Hooks, hookstage.Post) {
		return EndedBefore, ""
	}
	status := statuses(r.Status)
	stage := r.stage(hookstage.Post, r.Hooks.Post, status.PostHooks)
	stage.Earlier, stage.EarlierStatus, stage.ScaledUp = r.Hooks.Pre, status.PreHooks, r.ScaledUp
	begun := PostBegun(status)
	if stage.Over() {
		return EndedBefore, hookstage.Failures(status.PostHooks)
	}
	stage.Applies = func(h *v1alpha1.ResolvedHook) bool { return appliesAfter(h.ExecutionPolicy, work) }
	ended := stage.Advance()
	status.PostHooks = stage.Status
	r.Decision.Thaws = r.Decision.Thaws || !ended
	r.Decision.ThawBegins = r.Decision.ThawBegins || !ended && !begun
	return r.advanced(stage, ended)
}

func (r *Round) stage(
	name hookstage.Stage, hooks []v1alpha1.ResolvedHook, status []v1alpha1.HookStatus,
) *hookstage.Hooks {
	return &hookstage.Hooks{
		Target: r.Target, Stage: name, Now: r.Now, Hooks: hooks, Results: r.Results, Status: status, Room: r.Room,
		Functions: hookstage.Jobs{Kind: r.Kind, Owner: r.Owner, Target: r.Target, Jobs: r.Jobs},
	}
}

// advanced adds what a stage asks for to the decision, and reports its state.
func (r *Round) advanced(stage *hookstage.Hooks, ended bool) (state State, failures string) {
	d := r.Decision
	*r.Delete = append(*r.Delete, stage.Functions.Remove...)
	d.Verify = d.Verify || stage.Functions.Verify
	d.StopHooks = append(d.StopHooks, stage.Stopped...)
	d.EndedHooks = append(d.EndedHooks, stage.Ends...)
	if ended {
		r.Report.ended(stage.Stage, stage.Status, r.Now)
		return EndedNow, hookstage.Failures(stage.Status)
	}
	d.Hooks = append(d.Hooks, stage.Run(r.Hooks.Targets, r.Since, r.Summary())...)
	d.After = run.EarlierOf(d.After, stage.After)
	r.Report.underWay(stage, r.Now)
	return UnderWay, ""
}

// appliesAfter reports whether a post hook with this policy runs after work that ended like this.
func appliesAfter(p v1alpha1.HookExecutionPolicy, work WorkEnd) bool {
	if work.Skipped {
		return false
	}
	switch p {
	case v1alpha1.HookOnSuccess:
		return !work.Failed
	case v1alpha1.HookOnFailure:
		return work.Failed
	case v1alpha1.HookOnFinalRetryFailure:
		return work.Failed && work.LastTry
	default:
		return true
	}
}

// statuses returns the statuses of hooks and creates them where they are missing.
func statuses(h **v1alpha1.HookStatuses) *v1alpha1.HookStatuses {
	if *h == nil {
		*h = &v1alpha1.HookStatuses{}
	}
	return *h
}
