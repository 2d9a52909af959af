package restore

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/text"
)

// maybePartly ends messages about movers that could have written before they ended.
const maybePartly = "; the target may hold a part of the data"

// JobName returns the name of the Job that restores one host in one attempt of a RestoreSession.
func JobName(session, host string, attempt int32) string {
	if attempt > 1 {
		return policy.JobName("restore", session, host, strconv.Itoa(int(attempt)))
	}
	return moverjob.RestoreJobName(session, host)
}

// DeadlineOf returns when a restore must end: the zero time if it has no timeout.
func DeadlineOf(s *v1alpha1.RestoreSession) time.Time {
	if d := s.Status.RestoreDeadline; d != nil {
		return d.Time
	}
	return time.Time{}
}

// runner is one step of a frozen restore.
type runner struct {
	Input
	d *Decision
	// movers holds the movers that are still allowed to write, by component.
	movers map[string]string
	// open is the number of hosts that are not done.
	open int
	// refusals say what the API server refuses for now.
	refusals []string
	// marking means that the end waits until the API server lets the targets be marked.
	marking bool
	// waits says that a Job is suspended, or that its claims wait for a StorageClass; nil where nothing waits so.
	waits *v1alpha1.ResolvedError
}

// advance takes one step for every host. When no host is open it ends the attempt or the restore.
func advance(in Input, d *Decision) {
	d.Status.ObservedGeneration = in.Session.Generation
	d.Status.StartTime, d.Status.RestoreDeadline = run.Restart(d.Status.StartTime, d.Status.RestoreDeadline,
		d.Status.Resolved.Timeout, in.Now)
	if d.Status.Components == nil {
		d.Status.Components = map[string]v1alpha1.RestoredComponent{}
	}
	r := runner{Input: in, d: d, movers: map[string]string{}}
	r.marking = r.waitsForMarks()
	if r.ending() {
		r.removeLeft()
		r.tellRefused()
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
	r.tellWaits()
	r.tellRefused()
	movers := run.FormatMovers(r.movers)
	d.Movers = &movers
	switch {
	case r.open > 0:
		d.After = run.EarlierOf(d.After, run.Until(d.Status.RestoreDeadline, in.Now))
	case !r.present():
	case !r.retry():
		r.finish()
	}
}

// removeLeft asks for the deletion of the Jobs that run on although the work is over: an earlier step could not delete
// them.
func (r *runner) removeLeft() {
	for _, name := range slices.Sorted(maps.Keys(r.Jobs)) {
		if job := r.Jobs[name]; !job.Hook && !job.Sidecar && !job.Finished && job.Deleted == nil {
			r.d.Delete = append(r.d.Delete, name)
		}
	}
}

// late reports whether the deadline has passed.
func (r *runner) late() bool {
	deadline := r.d.Status.RestoreDeadline
	return deadline != nil && !r.Now.Before(deadline.Time)
}

// host takes one step for one host and updates its components in the decision's status.
func (r *runner) host(i int, h *v1alpha1.ResolvedRestoreHost) {
	name := r.jobName(h)
	job, exists := r.Jobs[name]
	unfinished, _ := r.pending(h)
	if unfinished {
		r.step(i, h, name)
	}
	changed := r.tellInterruption(h, job) || unfinished
	pending, _ := r.pending(h)
	for _, v := range h.Volumes {
		c := r.d.Status.Components[v.Component]
		if c.Phase != v1alpha1.RestoreSessionFailed {
			// A Job that makes claims reports only its Result. The Job of a later attempt leaves alone what is done.
			if v.Provision == nil && (r.d.Status.Attempt == 1 || !c.Phase.Terminal()) {
				r.movers[v.Component] = name
			}
			continue
		}
		c.Error = text.Shorten(r.advise(c.Reason, c.Error))
		r.d.Status.Components[v.Component] = c
	}
	// Whoever waits for a restore wants to mount the volume, which is in use until the pod has ended.
	if pending || exists && !job.Finished && !r.late() && r.Session.DeletionTimestamp == nil &&
		!slices.Contains(r.d.Delete, name) {
		r.open++
		if !changed {
			r.outlived(name, job)
		} else if !pending {
			r.d.After = run.EarlierOf(r.d.After, run.PollInterval)
		}
	}
}

// outlived deletes a Job whose components and whose mover have ended, but whose pod runs on: on a node that died, or
// with a container that a webhook has added. It comes after the step that wrote down the end of the components: if the
// manager were killed in between, nobody would know that end.
func (r *runner) outlived(name string, job run.Job) {
	r.d.After = run.EarlierOf(r.d.After, job.Recheck)
	if !job.Sidecar && (job.State == observe.StateSucceeded || job.State == observe.StateFailed) {
		r.d.Delete = append(r.d.Delete, name)
		r.d.After = run.EarlierOf(r.d.After, run.PollInterval)
	}
}

// pending reports whether a component of the host is not terminal, and whether its present Job was seen in this
// attempt. The present Job is the second one if that mounts the claims. What ended in an earlier attempt says nothing
// about the present one.
func (r *runner) pending(h *v1alpha1.ResolvedRestoreHost) (pending, seen bool) {
	mounting := Mounting(h, r.d.Status.Components)
	for _, v := range h.Volumes {
		c := r.d.Status.Components[v.Component]
		pending = pending || !c.Phase.Terminal()
		begun := c.Phase != "" && (r.d.Status.Attempt == 1 || !c.Phase.Terminal())
		seen = seen || begun && (!mounting || AwaitingConsumer(c))
	}
	return pending, seen
}

// step decides about a host that is not done, and asks for its Job to be made or deleted.
func (r *runner) step(i int, h *v1alpha1.ResolvedRestoreHost, name string) {
	job, exists := r.Jobs[name]
	deleted := r.Session.DeletionTimestamp
	_, seen := r.pending(h)
	switch {
	case exists && job.Result != nil:
		r.report(h, job.Result)
	case exists && r.mayStillBind(h, job):
		r.mark(h)
		r.d.After = run.EarlierOf(r.d.After, run.PollInterval)
	case exists && (job.State == observe.StateSucceeded || job.State == observe.StateFailed):
		if !job.Finished {
			r.d.Delete = append(r.d.Delete, name)
		}
		reason := cmp.Or(job.Reason, v1alpha1.ReasonJobFailed)
		if job.State == observe.StateSucceeded {
			reason = v1alpha1.ReasonJobFailed
		}
		r.giveUp(h, reason, cmp.Or(job.Message, "the mover ended without saying how")+r.unbound(h)+r.partly(h))
	case deleted != nil:
		if exists {
			r.mark(h)
		}
		if r.stops(deleted.Time) {
			return
		}
		r.giveUp(h, v1alpha1.ReasonCancelled, "the RestoreSession was deleted"+r.partly(h))
	case r.late():
		if exists {
			r.d.Delete = append(r.d.Delete, name)
		}
		r.giveUp(h, v1alpha1.ReasonDeadlineExceeded, "the deadline of the restore passed"+r.partly(h))
	case exists:
		r.mark(h)
		switch why := r.noClass(h); {
		case job.Suspended():
			r.waits = &v1alpha1.ResolvedError{Reason: job.Reason, Message: job.Message}
		case job.LacksSidecar() && r.waits == nil:
			r.waits = &v1alpha1.ResolvedError{Reason: job.Reason, Message: job.Message}
		case why != "" && r.waits == nil:
			r.waits = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonStorageClassNotFound, Message: why}
		}
		r.d.After = run.EarlierOf(r.d.After, job.Recheck)
	case r.heldUp(r.Refused[h.Name]):
	case r.Refused[h.Name] != nil:
		r.giveUp(h, r.Refused[h.Name].Reason, r.Refused[h.Name].Message)
	case seen:
		what := "the Job was deleted before it ended"
		if run.RestoredBySidecars(r.Session) {
			what = "the work of the sidecar was removed before it ended"
		}
		r.giveUp(h, v1alpha1.ReasonJobVanished, what+maybePartly)
	default:
		r.d.Create = append(r.d.Create, i)
	}
}

// heldUp reports whether a host waits until a refusal has passed, and notes that. It does not wait for ever.
func (r *runner) heldUp(refusal *v1alpha1.ResolvedError) bool {
	left := run.RefusedLeft(r.d.Status.Conditions, r.d.Status.StartTime, r.Now)
	if !run.CanPass(refusal) || left == 0 {
		return false
	}
	r.refusals = append(r.refusals, refusal.Message)
	r.d.Again = run.EarlierOf(r.d.Again, run.RefusedAgain(left))
	return true
}

// tellRefused makes the status say what the API server refuses for now.
func (r *runner) tellRefused() {
	slices.Sort(r.refusals)
	r.d.Event = cmp.Or(r.d.Event, run.ReportRefused(&r.d.Status.Conditions,
		strings.Join(slices.Compact(r.refusals), "; "), r.Session.Generation, r.Now))
}

// tellWaits makes the status say what a Job waits for, or that the restore runs again.
func (r *runner) tellWaits() {
	s := &r.d.Status
	switch {
	case r.waits != nil:
		s.Reason = r.waits.Reason
		r.d.Event = cmp.Or(r.d.Event, run.Wait(&s.Conditions, s.Reason, run.Waiting(r.waits.Message),
			r.Session.Generation, r.Now))
	case s.Reason == v1alpha1.ReasonSuspended, s.Reason == v1alpha1.ReasonStorageClassNotFound,
		s.Reason == v1alpha1.ReasonSidecarNotReady:
		s.Reason = v1alpha1.ReasonRunning
		run.Progress(&s.Conditions, s.Reason, "the restore runs", r.Session.Generation, r.Now)
	}
}

// stops deletes the Jobs of a restore that was deleted, and reports whether it waits for them and their pods. If a
// clock that was ahead dated the deletion, only Jobs and sidecars are waited for: each counts as gone some time after
// its own deletion, or after it was asked to stop.
func (r *runner) stops(deleted time.Time) bool {
	if len(r.Jobs) == 0 && r.Pods == 0 {
		return false
	}
	left := run.Left(deleted.Add(run.WaitForPods), run.WaitForPods, r.Now)
	if v1alpha1.Ahead(deleted, r.Now) && run.Moves(r.Jobs, r.Now) {
		left = run.WaitForPods
	}
	if left > 0 {
		r.d.Delete = slices.Sorted(maps.Keys(r.Jobs))
		r.d.After = run.EarlierOf(r.d.After, min(left, 5*time.Second))
	}
	return left > 0
}

// mark records in the components that their Job existed. If the Job is missing later, somebody deleted it.
func (r *runner) mark(h *v1alpha1.ResolvedRestoreHost) {
	for _, v := range h.Volumes {
		if c := r.d.Status.Components[v.Component]; c.Phase == "" {
			c.Phase, c.ID = v1alpha1.RestoreSessionPending, v.ID
			r.d.Status.Components[v.Component] = c
		}
	}
}

// unbegun reports whether it is known that no mover has begun in this attempt with what is unfinished of a host: the
// API server and the pods say so, and no mover has reported a begin. Whoever believes this must have looked past the
// cache, as giveUp asks for. A mover that begins later is fenced before it writes.
func (r *runner) unbegun(h *v1alpha1.ResolvedRestoreHost) bool {
	for _, v := range h.Volumes {
		if c := r.d.Status.Components[v.Component]; !c.Phase.Terminal() && c.StartTime != nil {
			return false
		}
	}
	if job, exists := r.Jobs[r.jobName(h)]; exists {
		return job.Unbegun
	}
	_, seen := r.pending(h)
	stuck := r.Pods > 0 && !run.Moves(r.Jobs, r.Now) // on a dead node, after their Job
	return !seen && !stuck
}

// partly ends the message about a host that is given up, unless none of its targets can hold a part of the data.
func (r *runner) partly(h *v1alpha1.ResolvedRestoreHost) string {
	if !r.unbegun(h) {
		return maybePartly
	}
	for i := range h.Volumes {
		v := &h.Volumes[i]
		if c := r.d.Status.Components[v.Component]; !c.Phase.Terminal() &&
			(c.UntouchedAttempts < r.d.Status.Attempt-1 || stepsMayWrite(r.d.Status.Resolved.Task, v)) {
			return maybePartly
		}
	}
	return ""
}

// giveUp fails the unfinished components of a host. Their mover is no longer allowed to write.
func (r *runner) giveUp(h *v1alpha1.ResolvedRestoreHost, reason, message string) {
	r.d.Verify = true
	unbegun := r.unbegun(h)
	for _, v := range h.Volumes {
		c := r.d.Status.Components[v.Component]
		if c.Phase.Terminal() {
			continue
		}
		c.Phase, c.ID, c.Progress = v1alpha1.RestoreSessionFailed, v.ID, nil
		c.Reason, c.Error, c.TargetUntouched = reason, text.Shorten(message), unbegun
		r.d.Status.Components[v.Component] = c
	}
}

// report fills in the unfinished components from the mover's Result.
func (r *runner) report(h *v1alpha1.ResolvedRestoreHost, result *task.Result) {
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
			Reason: cmp.Or(run.FailureReason(result), v1alpha1.ReasonJobFailed),
			Error:  cmp.Or(result.Message, "the mover did not report this component"),
		}
		if c, ok := reported[v.Component]; ok {
			out = c.Restored()
			if !task.TellsPatterns(len(r.d.Status.Components)) {
				out.UnmatchedPatterns = nil
			}
		} else {
			out.TargetWritten, out.TargetUntouched = before.TargetWritten, refused(result)
		}
		if out.Phase != v1alpha1.RestoreSessionSucceeded {
			out.Reason = cmp.Or(out.Reason, run.FailureReason(result), v1alpha1.ReasonFailed)
			out.Error = cmp.Or(out.Error, result.Message)
		}
		if v.Provision != nil {
			r.d.Status.Components[v.Component] = r.provisioned(v, before, out)
			continue
		}
		out.ID, out.ClaimUID, out.VolumeUID = v.ID, before.ClaimUID, before.VolumeUID
		out.TargetUntouched = out.TargetUntouched && !anotherBegan(before, out)
		out.UntouchedAttempts = before.UntouchedAttempts
		r.d.Status.Components[v.Component] = out
	}
}

// advise adds to the mover's message what only the controller knows: what to write so that the volume is overwritten.
// If that was written already, the mover refused for another reason.
func (r *runner) advise(reason, message string) string {
	uid := r.d.Status.Resolved.TargetUID
	if reason != v1alpha1.ReasonVolumeNotEmpty || uid == "" || r.Session.Overwrites() != "" ||
		strings.Contains(message, string(uid)) {
		return message
	}
	return message + confirmAdvice(inBatch(r.Session), string(uid))
}

// MakesMover reports whether a Job of this name can be one that a frozen restore makes to write a component.
func MakesMover(s *v1alpha1.RestoreSessionStatus, session, component, job string) bool {
	for _, h := range s.Resolved.Hosts {
		if !slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedRestoreVolume) bool {
			return v.Component == component
		}) {
			continue
		}
		for attempt := range s.Attempt {
			if job == JobName(session, h.Name, attempt+1) || job == ConsumerJobName(session, h.Name, attempt+1) {
				return true
			}
		}
	}
	return false
}
