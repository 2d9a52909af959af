package backup

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/text"
)

// round returns this step of the hooks of the target. The conditions of the run tell nothing about them.
func (t *targetRun) round() *hookround.Round {
	return &hookround.Round{
		Now: t.run.Now, Kind: v1alpha1.BackupSessionKind, Owner: t.run.Session.Name, Target: t.frozen.Name,
		Hooks: t.frozen.Hooks, Status: &t.status.Hooks, Results: t.run.Hooks, Jobs: t.run.Jobs,
		Room: t.run.room(hookstage.MaxText), Since: t.status.StartTime, Summary: t.summary,
		Decision: &t.run.d.Base, Delete: &t.run.d.Delete,
	}
}

// preBackup advances the preBackup hooks of the target and reports whether they have ended. A failed hook stops the
// target.
func (t *targetRun) preBackup() bool {
	state, failures := t.round().Pre(t.stop, true)
	if failures != "" {
		t.stop = cmp.Or(t.stop, v1alpha1.ReasonFailedToExecutePreBackupHooks)
		t.why = hookround.Backup.NotDoneMessage(failures)
	}
	return state != hookround.UnderWay
}

// postBackup advances the postBackup hooks of a target that has begun. It returns which of them failed, and whether
// they have ended. They run however the backup ended.
func (t *targetRun) postBackup() (failures string, ended bool) {
	state, failures := t.round().Post(hookround.WorkEnd{
		Failed: t.status.Reason != v1alpha1.ReasonSucceeded, LastTry: t.run.lastTry(),
	})
	return failures, state != hookround.UnderWay
}

// summary returns the target as its hooks see it.
func (t *targetRun) summary() hook.Summary {
	out := t.run.about()
	out.Target = hookObject(t.run.Session.Namespace, t.frozen.AppRef)
	out.Targets = []hook.Object{out.Target}
	if t.status.StartTime != nil {
		out.Status.Duration = text.Duration(t.run.Now.Sub(t.status.StartTime.Time))
	}
	if !hookround.PostBegun(t.status.Hooks) {
		return out
	}
	if out.Status.Phase = string(v1alpha1.BackupSessionSucceeded); t.status.Reason != v1alpha1.ReasonSucceeded {
		out.Status.Phase = string(v1alpha1.BackupSessionFailed)
		out.Status.Error = t.frozen.Name + ": " + cmp.Or(t.status.Message, t.status.Reason)
	}
	return out
}

// held are the pods that hooks choose among before and after the work. A pod can be frozen between such hooks.
type held struct{ pre, post map[string]bool }

// add adds hooks with their targets. h can be nil.
func (p *held) add(h *v1alpha1.ResolvedHooks) {
	if h == nil {
		return
	}
	for _, stage := range []struct {
		hooks []v1alpha1.ResolvedHook
		into  *map[string]bool
	}{{h.Pre, &p.pre}, {h.Post, &p.post}} {
		for i := range stage.hooks {
			pods := hook.Pods(&stage.hooks[i], h.Targets)
			if pods == "" {
				continue
			}
			if *stage.into == nil {
				*stage.into = map[string]bool{}
			}
			(*stage.into)[pods] = true
		}
	}
}

// meets reports whether a hook after the work of one acts in the pods in which one before the work of the other acts.
// It would thaw what the other has frozen. Hooks of one stage alone, such as a message after each backup, do no harm.
func (p *held) meets(other held) bool {
	common := func(a, b map[string]bool) bool {
		for pods := range a {
			if b[pods] {
				return true
			}
		}
		return false
	}
	return common(p.pre, other.post) || common(p.post, other.pre)
}

// onTarget returns the own hooks of a target with the target that they concern, or nil.
func onTarget(t *v1alpha1.ResolvedTarget) *v1alpha1.ResolvedHooks {
	if t.Hooks == nil {
		return nil
	}
	out := *t.Hooks
	out.Targets = []v1alpha1.TypedObjectReference{t.AppRef}
	return &out
}

// loss is what a run lost of what its hooks froze.
type loss struct {
	// why explains it. It is empty if nothing was lost.
	why string
	// since is when it was lost at the earliest, nil if nobody knows. What was copied before is whole.
	since *metav1.Time
	// slack is how far the clock that since is from can be wrong: that of the API server, or that of a node.
	slack time.Duration
}

// harms reports whether a target was perhaps read, or copied, after the loss. An API server that keeps since keeps
// copiedAt, too: without it, nobody knows when the copies were made. The CRDs of an earlier version have neither.
func (l *loss) harms(t *v1alpha1.ResolvedTarget, copiedAt *metav1.Time) bool {
	copies := IsVolumeSnapshots(t) || len(t.Copies) > 0
	late := copies && l.since != nil && (copiedAt == nil || !copiedAt.Add(l.slack).Before(l.since.Time))
	return l.why != "" && (readsInUse(t) || late)
}

// losses says which targets were perhaps read while a pod or container ran that nobody froze. Their Snapshots ended
// before that was known.
func (r *runner) losses() []string {
	s := &r.d.Status
	ofRun := lossesOf(s.Resolved.Hooks, s.Hooks)
	var out []string
	for i := range min(len(s.Targets), len(s.Resolved.Targets)) {
		t := &s.Resolved.Targets[i]
		all := append(lossesOf(t.Hooks, s.Targets[i].Hooks), ofRun...)
		at := slices.IndexFunc(all, func(l loss) bool { return l.harms(t, s.Targets[i].CopiedAt) })
		if at >= 0 &&
			slices.ContainsFunc(s.Snapshots, func(info v1alpha1.SnapshotStatusInfo) bool {
				return info.Phase == v1alpha1.SnapshotSucceeded && slices.ContainsFunc(t.Repositories,
					func(repo v1alpha1.ResolvedRepository) bool { return repo.Snapshot == info.Name })
			}) {
			out = append(out, t.Name+": "+all[at].why)
		}
	}
	return out
}

// lossesOf returns what was lost of what each hook before the work froze, as far as the hooks after the work tell.
func lossesOf(h *v1alpha1.ResolvedHooks, status *v1alpha1.HookStatuses) (out []loss) {
	if h == nil || status == nil {
		return nil
	}
	for i := range min(len(h.Pre), len(status.PreHooks)) {
		var after []v1alpha1.HookStatus
		for j := range min(len(h.Post), len(status.PostHooks)) {
			if status.PostHooks[j].Pod != nil && keepsTo(&h.Post[j], &h.Pre[i], h.Targets) {
				after = append(after, status.PostHooks[j])
			}
		}
		if status.PreHooks[i].Pod != nil {
			out = append(out, lossSince(&status.PreHooks[i], after))
		}
	}
	return out
}

// lossSince tells what was lost of what a hook before the work froze. after are the hooks after the work that choose
// among the same pods. They keep to its pod as long as that runs, so the first one tells: what a later one finds can
// have happened since. Nobody knows when a pod or container ended: it can have been after all was read.
func lossSince(before *v1alpha1.HookStatus, after []v1alpha1.HookStatus) loss {
	const torn = "what was read between them may be torn"
	for i := range after {
		was, is := before.Pod, after[i].Pod
		switch {
		case !hookstage.SamePod(*was, *is):
			if i > 0 {
				return loss{}
			}
			return loss{since: is.Since, why: fmt.Sprintf("the frozen pod was replaced: hook %s acted in pod %s, and "+
				"hook %s in a later or other pod %s; %s", before.Name, was.Name, after[i].Name, is.Name, torn)}
		case hookstage.Restarted(*was, *is):
			return loss{since: is.Since, slack: v1alpha1.ClockTolerance, why: fmt.Sprintf("the frozen pod is still "+
				"there, but its container was restarted: hook %s acted in container %s of pod %s before that, and "+
				"hook %s after it; %s", before.Name, was.Container, was.Name, after[i].Name, torn)}
		case i == 0 && is.Since != nil:
			return loss{since: is.Since, why: fmt.Sprintf("the frozen pod terminated: hook %s acted in pod %s before "+
				"that, and hook %s while it shut down; %s", before.Name, was.Name, after[i].Name, torn)}
		case hookstage.KnowContainer(*was, *is):
			return loss{}
		}
	}
	return loss{}
}

// keepsTo reports whether a hook acts in the pod of an earlier one as long as that runs.
func keepsTo(h, earlier *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference) bool {
	written := func(h *v1alpha1.ResolvedHook) string {
		return ptr.Deref(h.Executor.Pod, v1alpha1.HookPodExecutor{}).Selector
	}
	return written(h) == written(earlier) && hook.Pods(h, targets) == hook.Pods(earlier, targets)
}

// readsInUse reports whether movers read volumes of a target themselves, and no copy that was made after the freeze.
func readsInUse(t *v1alpha1.ResolvedTarget) bool {
	return !IsVolumeSnapshots(t) && slices.ContainsFunc(t.Hosts, func(h v1alpha1.ResolvedHost) bool {
		return slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedVolume) bool {
			return t.CopyOf(v.ClaimName) == nil
		})
	})
}

// noteCopy notes when a copy or VolumeSnapshot of a target at work was made, if hooks before the work have run. That is
// noted as soon as it is known, and not only when the copy goes: who is killed in between would never know it.
func (t *targetRun) noteCopy(at time.Time) {
	hooked := slices.ContainsFunc([]*v1alpha1.HookStatuses{t.status.Hooks, t.run.Session.Status.Hooks},
		func(hooks *v1alpha1.HookStatuses) bool { return hooks != nil && len(hooks.PreHooks) > 0 })
	last := t.status.CopiedAt
	if hooked && t.begun() && !t.ending && !at.IsZero() && (last == nil || at.After(last.Time)) {
		t.status.CopiedAt = new(metav1.NewTime(at).Rfc3339Copy())
	}
}

// lastCopy returns when the last copy of the target was made, zero if there is none or nobody knows.
func (t *targetRun) lastCopy() (last time.Time) {
	for i := range t.frozen.Copies {
		have := t.run.Copies[t.frozen.Copies[i].Name]
		at := have.Made
		if have.Snapshot != nil {
			at = takenAt(have.Snapshot)
		}
		if at.IsZero() {
			return at
		}
		last = v1alpha1.Later(last, at)
	}
	return last
}
