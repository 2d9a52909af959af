package backup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// advance takes one step of a frozen run: for every component of every Snapshot, then for the Snapshots, the targets
// and the run itself.
func advance(in Input) Decision {
	d := Decision{
		Status:    *in.Session.Status.DeepCopy(),
		Movers:    map[string]string{},
		Snapshots: map[string]v1alpha1.SnapshotStatus{},
	}
	d.Status.ObservedGeneration = in.Session.Generation
	r := runner{Input: in, d: &d, stop: stopReason(in)}
	if r.ending() {
		if r.stop == "" && hookstage.Failures(d.Status.Hooks.PreHooks) != "" {
			r.stop = v1alpha1.ReasonFailedToExecutePreBackupHooks
		}
		for _, t := range r.targets() {
			t.cleanUp()
		}
		r.conclude()
		return d
	}
	if !r.preBackup() {
		return d
	}
	targets := r.targets()
	for _, t := range targets {
		t.work()
	}
	r.cancel()
	r.finish(targets)
	return d
}

// stopReason returns why the run must stop: it was deleted, another run takes its place, or its deadline has passed. It
// returns "" if the run can go on.
func stopReason(in Input) string {
	s := in.Session
	switch {
	case s.DeletionTimestamp != nil:
		return v1alpha1.ReasonCancelled
	case stopped(s):
		return v1alpha1.ReasonReplaced
	case s.Status.BackupDeadline != nil && !in.Now.Before(s.Status.BackupDeadline.Time):
		return v1alpha1.ReasonDeadlineExceeded
	default:
		return ""
	}
}

type runner struct {
	Input
	d *Decision
	// stop is the reason why the run is being ended.
	stop string
	// why explains stop in words where the reason alone is not enough.
	why string
	// busy is the number of hosts that can still succeed.
	busy int
	// refusals say what the API server refuses for now, by target.
	refusals []string
}

// cleanUp asks for the deletion of what is left of a target whose work is over: an earlier step could not delete it.
func (t *targetRun) cleanUp() {
	for i := range t.frozen.Repositories {
		repo := &t.frozen.Repositories[i]
		if snap := t.run.Snapshots[repo.Snapshot]; snap != nil && snap.Status.Phase.Terminal() {
			t.snapshot(repo)
		}
	}
	t.discard()
}

// snapshot takes one step for the target in one Repository.
func (t *targetRun) snapshot(repo *v1alpha1.ResolvedRepository) {
	r := t.run
	snap := r.Snapshots[repo.Snapshot]
	if snap == nil { // The Snapshot can't be made, or the run is being ended: finish reports that.
		t.abandon(repo)
		return
	}
	status := *snap.Status.DeepCopy()
	ended := status.Phase.Terminal()
	if status.Components == nil {
		status.Components = map[string]v1alpha1.Component{}
	}
	movers := run.ParseMovers(snap.Annotations[v1alpha1.AnnotationMovers])
	wanted := map[string]string{}
	for i := range t.frozen.Hosts {
		h := host{
			Mover: Mover{Target: t.frozen, Repository: repo, Host: &t.frozen.Hosts[i]}, components: status.Components,
		}
		h.attempt(r.Jobs, movers)
		if !ended {
			r.refuseOther(&h, snap)
			t.host(&h)
			h.refuseClaims()
			t.refuseCopies(&h)
			t.noteCopy(h.verify(snap, r.Input, r.d))
			h.blame(t.stop)
		}
		t.noteCopy(h.taken(snap))
		for _, v := range h.Host.Volumes {
			if c := status.Components[v.Component]; !run.GivenUp(c) {
				wanted[v.Component] = h.Name
			} else {
				r.remove(h.Name)
			}
		}
		if h.Attempt > 1 {
			r.remove(run.JobName(repo.Snapshot, h.Host.Name, 1))
		}
	}
	if ended {
		return
	}
	r.d.Movers[snap.Name] = run.FormatMovers(wanted)
	if r.d.Movers[snap.Name] != snap.Annotations[v1alpha1.AnnotationMovers] { // a mover ended without a report
		status.LastUpdateTime = nil
	}
	FinishSnapshot(&status, t.frozen, &snap.ObjectMeta, r.Session.Status.StartTime, r.Now)
	r.d.Snapshots[snap.Name] = status
}

// abandon removes the Jobs of a Snapshot that was deleted during the run: nobody can use their work.
func (t *targetRun) abandon(repo *v1alpha1.ResolvedRepository) {
	if t.run.Refused[repo.Snapshot] == nil {
		return
	}
	for i := range t.frozen.Hosts {
		for attempt := range 2 {
			t.run.remove(run.JobName(repo.Snapshot, t.frozen.Hosts[i].Name, attempt+1))
		}
	}
}

// refuseOther fails a host whose Job belongs to a Snapshot of the same name that was deleted, perhaps with its data. A
// Job of an earlier version does not say to which one it belongs: then it must not be older than the Snapshot.
func (r *runner) refuseOther(h *host, snap *v1alpha1.Snapshot) {
	job, exists := r.Jobs[h.Name]
	other := job.Created.Before(snap.CreationTimestamp.Time)
	if job.Snapshot != "" {
		other = job.Snapshot != snap.UID
	}
	if pending, _ := h.pending(); pending && exists && !job.Sidecar && other {
		r.giveUp(h, v1alpha1.ReasonSnapshotNotFound, "the Snapshot was deleted during the run and made again")
	}
}

// host decides about one host: leave it alone, fill in what its mover reported, make its Job, repeat it, or give it up.
func (t *targetRun) host(h *host) {
	r := t.run
	pending, seen := h.pending()
	if !pending {
		return
	}
	if wrong := t.wrongCopy(h); wrong != "" { // The mover can't know that, whatever it reports.
		r.giveUp(h, v1alpha1.ReasonCopyFailed, wrong)
		return
	}
	job, exists := r.Jobs[h.Name]
	if t.mayStillBind(h, job) {
		job.State, job.Recheck = observe.StateWaiting, run.PollInterval
	}
	refused := r.Refused[h.Repository.Snapshot]
	switch {
	case exists && job.Result != nil:
		h.report(job.Result)
		if pending, _ = h.pending(); pending {
			t.ended(h, job)
		}
	case exists && (job.State == observe.StateSucceeded || job.State == observe.StateFailed):
		t.ended(h, job)
	case t.stop == v1alpha1.ReasonDeadlineExceeded:
		message := t.late()
		if unready := t.unready(h); unready != "" && !exists {
			message += ": " + unready
		}
		r.giveUp(h, t.stop, message)
	case t.stop != "":
		r.busy++
	case exists && job.State == observe.StateWaiting && t.trouble(h) != "":
		r.giveUp(h, v1alpha1.ReasonCopyFailed, t.trouble(h))
	case exists:
		h.mark()
		r.busy++
		if job.Suspended() || (job.Queues || job.LacksSidecar()) && t.waits.Reason == "" {
			t.waits = job.Observation
		}
		r.d.After = run.EarlierOf(r.d.After, job.Recheck)
	case t.heldUp(refused):
		r.busy++
	case refused != nil:
		r.giveUp(h, refused.Reason, refused.Message)
	case seen && h.Attempt == 1:
		r.giveUp(h, v1alpha1.ReasonJobVanished, "the Job was deleted before it ended")
	default:
		t.create(h)
	}
}

// create asks for the Job of a host once its copies exist.
func (t *targetRun) create(h *host) {
	if h.Attempt > 1 {
		h.restart()
	}
	if t.copied(h) {
		t.run.d.Create = append(t.run.d.Create, h.Mover)
		t.run.busy++
	}
}

// ended handles a Job that ended without having done its work: its mover was killed, was told to stop, or never
// started.
func (t *targetRun) ended(h *host, job run.Job) {
	r := t.run
	reason := cmp.Or(job.Reason, v1alpha1.ReasonJobFailed)
	message := cmp.Or(job.Message, "the mover ended without saying how")
	switch {
	case job.State == observe.StateSucceeded:
		reason = v1alpha1.ReasonJobFailed
	case t.stop != "" && job.Result != nil:
		reason = t.stop
	case job.Reason == v1alpha1.ReasonUnschedulable && t.trouble(h) != "":
		reason, message = v1alpha1.ReasonCopyFailed, t.trouble(h)
	case job.Reason == v1alpha1.ReasonUnschedulable && t.underway(h) != nil:
		reason, message = v1alpha1.ReasonCopyFailed, notMadeInTime(t.underway(h))+": "+message
	}
	// No other attempt finds a node for a mover that the pods of the target bind to one.
	elsewhere := job.Elsewhere && reason == v1alpha1.ReasonUnschedulable && h.Host.Node == ""
	if h.Attempt > 1 || !run.WorthRepeating(job) && !elsewhere || t.stop != "" {
		r.giveUp(h, reason, message)
		return
	}
	h.Attempt, h.Name = 2, run.JobName(h.Repository.Snapshot, h.Host.Name, 2)
	r.d.Verify = true
	t.create(h)
}

// giveUp fails a host for a reason that its mover did not report.
func (r *runner) giveUp(h *host, reason, message string) {
	h.fail(reason, message)
	r.d.Verify = true
}

// remove asks for the deletion of a Job that still runs.
func (r *runner) remove(name string) {
	if job, ok := r.Jobs[name]; ok && !job.Finished && !slices.Contains(r.d.Delete, name) {
		r.d.Delete = append(r.d.Delete, name)
	}
}

// cancel ends a deleted or replaced run that has unfinished work: first its Jobs go, then its pods, then its components
// fail.
func (r *runner) cancel() {
	if !stopped(r.Session) || r.busy == 0 {
		return
	}
	since, _ := stoppedAt(r.Session)
	left := run.Left(since.Add(run.WaitForPods), run.WaitForPods, r.Now)
	// The Jobs of hooks that must still run are left alone.
	jobs := r.moverJobs()
	gone := len(jobs) == 0 && r.Pods == 0
	// A clock that was ahead says nothing about the time that has passed. Each Job counts as gone some time after its
	// own deletion, and each sidecar after it was asked to stop.
	if v1alpha1.Ahead(since, r.Now) && run.Moves(r.Jobs, r.Now) {
		left = run.WaitForPods
	}
	if !gone && left > 0 {
		for _, name := range jobs {
			if !slices.Contains(r.d.Delete, name) {
				r.d.Delete = append(r.d.Delete, name)
			}
		}
		r.d.After = min(left, 5*time.Second)
		return
	}
	r.busy, r.d.Verify = 0, true
	targets := r.Session.Status.Resolved.Targets
	for i := range targets {
		for j := range targets[i].Repositories {
			r.cancelSnapshot(&targets[i], &targets[i].Repositories[j])
		}
	}
}

// moverJobs returns the names of the mover Jobs that exist.
func (r *runner) moverJobs() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.Jobs)) {
		if !r.Jobs[name].Hook {
			out = append(out, name)
		}
	}
	return out
}

func (r *runner) cancelSnapshot(t *v1alpha1.ResolvedTarget, repo *v1alpha1.ResolvedRepository) {
	status, ok := r.d.Snapshots[repo.Snapshot]
	if !ok {
		return
	}
	_, message := stoppedAt(r.Session)
	for i := range t.Hosts {
		h := host{Mover: Mover{Target: t, Repository: repo, Host: &t.Hosts[i]}, components: status.Components}
		h.fail(r.stop, message)
	}
	FinishSnapshot(&status, t, &r.Snapshots[repo.Snapshot].ObjectMeta, r.Session.Status.StartTime, r.Now)
	r.d.Snapshots[repo.Snapshot] = status
	r.d.Movers[repo.Snapshot] = ""
}

// String names a mover in messages.
func (m Mover) String() string {
	return fmt.Sprintf("target %s, host %s, repository %s", m.Target.Name, m.Host.Name, m.Repository.Name)
}
