package session

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// maybePartly ends messages about movers that may have been at work.
const maybePartly = "; the target may hold a part of the data"

// RestoreJobName is the name of the Job that restores one host in one attempt of a RestoreSession.
func RestoreJobName(session, host string, attempt int32) string {
	if attempt > 1 {
		return policy.JobName("restore", session, host, strconv.Itoa(int(attempt)))
	}
	return task.RestoreJobName(session, host)
}

// restoreRun is one look at a frozen restore.
type restoreRun struct {
	RestoreInput
	d *RestoreDecision
	// movers that may still write, by component.
	movers map[string]string
	// open is the number of hosts that are not done.
	open int
}

// runRestore looks at every host, and ends the restore or an attempt when none is open.
func runRestore(in RestoreInput, d *RestoreDecision) {
	d.Status.ObservedGeneration = in.Session.Generation
	if d.Status.Components == nil {
		d.Status.Components = map[string]v1alpha1.RestoredComponent{}
	}
	r := restoreRun{RestoreInput: in, d: d, movers: map[string]string{}}
	if r.ending() {
		r.finish()
		return
	}
	if !r.preRestore() || r.waitsForRetry() {
		return
	}
	hosts := d.Status.Resolved.Hosts
	for i := range hosts {
		r.host(i, &hosts[i])
	}
	movers := FormatMovers(r.movers)
	d.Movers = &movers
	switch {
	case r.open > 0:
		d.After = sooner(d.After, max(d.Status.RestoreDeadline.Sub(in.Now), time.Second))
	case !r.retry():
		r.finish()
	}
}

// late says whether the deadline passed.
func (r *restoreRun) late() bool { return !r.Now.Before(r.d.Status.RestoreDeadline.Time) }

// host looks at one host: its components after this step are in the decision's status.
func (r *restoreRun) host(i int, h *v1alpha1.ResolvedRestoreHost) {
	name := r.jobName(h)
	job, exists := r.Jobs[name]
	if pending, _ := r.pending(h); pending {
		r.step(i, h, name)
	}
	pending, _ := r.pending(h)
	for _, v := range h.Volumes {
		c := r.d.Status.Components[v.Component]
		if c.Phase != v1alpha1.RestoreSessionFailed {
			if v.Provision == nil { // who makes claims reports nothing but its result
				r.movers[v.Component] = name
			}
			continue
		}
		c.Error = shorten(r.advise(c.Reason, c.Error))
		r.d.Status.Components[v.Component] = c
	}
	// Who waits for a restore wants to mount the volume, which is in use until the pod has ended.
	if pending || exists && !job.Finished && !r.late() && r.Session.DeletionTimestamp == nil && !slices.Contains(r.d.Delete, name) {
		r.open++
	}
}

// pending says whether a component of the host is not terminal, and seen whether its Job was there once in this attempt: of two that
// follow each other, the one that it waits for.
func (r *restoreRun) pending(h *v1alpha1.ResolvedRestoreHost) (pending, seen bool) {
	mounting := Mounting(h, r.d.Status.Components)
	for _, v := range h.Volumes {
		c := r.d.Status.Components[v.Component]
		pending = pending || !c.Phase.Terminal()
		seen = seen || c.Phase != "" && (!mounting || AwaitingConsumer(c))
	}
	return pending, seen
}

// step decides about a host that is not done, and asks for its Job or for its end.
func (r *restoreRun) step(i int, h *v1alpha1.ResolvedRestoreHost, name string) {
	job, exists := r.Jobs[name]
	deleted := r.Session.DeletionTimestamp
	_, seen := r.pending(h)
	switch {
	case exists && job.Result != nil:
		r.report(h, job.Result)
	case exists && r.mayStillBind(h, job):
		r.mark(h)
		r.d.After = sooner(r.d.After, pollInterval)
	case exists && (job.State == task.StateSucceeded || job.State == task.StateFailed):
		if !job.Finished {
			r.d.Delete = append(r.d.Delete, name)
		}
		reason := cmp.Or(job.Reason, v1alpha1.ReasonJobFailed)
		if job.State == task.StateSucceeded {
			reason = v1alpha1.ReasonJobFailed
		}
		r.giveUp(h, reason, cmp.Or(job.Message, "the mover ended without saying how")+r.unbound(h)+maybePartly)
	case deleted != nil:
		gone := len(r.Jobs) == 0 && r.Pods == 0
		if until := deleted.Add(WaitForPods); !gone && r.Now.Before(until) {
			r.d.Delete = slices.Sorted(maps.Keys(r.Jobs))
			r.d.After = sooner(r.d.After, min(until.Sub(r.Now), 5*time.Second))
			return
		}
		r.giveUp(h, v1alpha1.ReasonCancelled, "the RestoreSession was deleted"+maybePartly)
	case r.late():
		if exists {
			r.d.Delete = append(r.d.Delete, name)
		}
		r.giveUp(h, v1alpha1.ReasonDeadlineExceeded, "the deadline of the restore passed"+maybePartly)
	case exists:
		r.mark(h)
		r.d.After = sooner(r.d.After, job.Recheck)
	case r.Refused[h.Name] != nil:
		r.giveUp(h, r.Refused[h.Name].Reason, r.Refused[h.Name].Message)
	case seen:
		what := "the Job was deleted before it ended"
		if RestoredBySidecars(r.Session) {
			what = "what the sidecar was told to do was removed before it ended"
		}
		r.giveUp(h, v1alpha1.ReasonJobVanished, what+maybePartly)
	default:
		r.d.Create = append(r.d.Create, i)
	}
}

// mark remembers in the components that their Job was there: if it is gone later, it was deleted.
func (r *restoreRun) mark(h *v1alpha1.ResolvedRestoreHost) {
	for _, v := range h.Volumes {
		if c := r.d.Status.Components[v.Component]; c.Phase == "" {
			c.Phase, c.ID = v1alpha1.RestoreSessionPending, v.ID
			r.d.Status.Components[v.Component] = c
		}
	}
}

// giveUp fails what of a host is not done: its mover may not write any more.
func (r *restoreRun) giveUp(h *v1alpha1.ResolvedRestoreHost, reason, message string) {
	r.d.Verify = true
	for _, v := range h.Volumes {
		c := r.d.Status.Components[v.Component]
		if c.Phase.Terminal() {
			continue
		}
		c.Phase, c.ID, c.Progress = v1alpha1.RestoreSessionFailed, v.ID, nil
		c.Reason, c.Error = reason, shorten(message)
		r.d.Status.Components[v.Component] = c
	}
}

// report fills in the components that are not done from the mover's Result.
func (r *restoreRun) report(h *v1alpha1.ResolvedRestoreHost, result *task.Result) {
	reported := map[string]task.ComponentResult{}
	for _, c := range result.Components {
		reported[c.Name] = c
	}
	for i := range h.Volumes {
		v := &h.Volumes[i]
		before := r.d.Status.Components[v.Component]
		if before.Phase.Terminal() {
			continue
		}
		out := v1alpha1.RestoredComponent{
			Phase:  v1alpha1.RestoreSessionFailed,
			Reason: cmp.Or(failure(result), v1alpha1.ReasonJobFailed),
			Error:  cmp.Or(result.Message, "the mover said nothing about the component"),
		}
		if c, ok := reported[v.Component]; ok {
			out = c.Restored()
		}
		if out.Phase != v1alpha1.RestoreSessionSucceeded {
			out.Reason = cmp.Or(out.Reason, result.Reason, v1alpha1.ReasonFailed)
			out.Error = shorten(cmp.Or(out.Error, result.Message))
		}
		if v.Provision != nil {
			r.d.Status.Components[v.Component] = r.provisioned(v, before, out)
			continue
		}
		out.ID = v.ID
		out.TargetWritten = out.TargetWritten || before.TargetWritten
		r.d.Status.Components[v.Component] = out
	}
}

// advise adds to the mover's word what the mover can't know: what must be written to have the volume overwritten. Where that was
// written the mover has another reason to refuse.
func (r *restoreRun) advise(reason, message string) string {
	uid := r.d.Status.Resolved.TargetUID
	if reason != v1alpha1.ReasonVolumeNotEmpty || uid == "" || Overwrites(r.Session) != "" || strings.Contains(message, string(uid)) {
		return message
	}
	return message + ConfirmAdvice(uid)
}

// ConfirmAdvice ends a refusal to write into a volume that is used: it says what to write.
func ConfirmAdvice(target types.UID) string {
	return fmt.Sprintf("; to restore into it all the same, make another RestoreSession with spec.confirm: %s", target)
}

// Overwrites is what a restore does with files that its volumes hold, "" where it must find them empty.
func Overwrites(s *v1alpha1.RestoreSession) v1alpha1.OverwritePolicy {
	if s.Spec.Confirm == "" {
		return ""
	}
	return cmp.Or(s.Spec.OverwritePolicy, v1alpha1.OverwriteAlways)
}
