package backup

import (
	"cmp"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/workload"
)

// host is one host of one Snapshot during a step of the run.
type host struct {
	Mover
	// components are those of the whole Snapshot.
	components map[string]v1alpha1.Component
}

// attempt determines the current attempt: the second one if it has begun, otherwise the first.
func (h *host) attempt(jobs map[string]run.Job, movers map[string]string) {
	second := run.JobName(h.Repository.Snapshot, h.Host.Name, 2)
	h.Attempt, h.Name = 1, run.JobName(h.Repository.Snapshot, h.Host.Name, 1)
	_, exists := jobs[second]
	for _, v := range h.Host.Volumes {
		exists = exists || movers[v.Component] == second
	}
	if exists {
		h.Attempt, h.Name = 2, second
	}
}

// pending reports whether a component of the host is not terminal, and whether its Job was seen before.
func (h *host) pending() (pending, seen bool) {
	for _, v := range h.Host.Volumes {
		c, ok := h.components[v.Component]
		pending = pending || !c.Phase.Terminal()
		seen = seen || ok && c.Phase != ""
	}
	return pending, seen
}

// refuseClaims fails components whose mover reported success without naming any data. There would be nothing to
// restore.
func (h *host) refuseClaims() {
	for _, v := range h.Host.Volumes {
		if c := h.components[v.Component]; c.Phase == v1alpha1.SnapshotSucceeded && c.ID == "" {
			h.failOne(v, v1alpha1.ReasonJobFailed, "the mover reported success without naming the data it wrote")
		}
	}
}

// blame replaces the reason Cancelled of components that a sidecar stopped by the reason why the run is being ended.
func (h *host) blame(stop string) {
	for _, v := range h.Host.Volumes {
		if c := h.components[v.Component]; stop != "" && c.Phase == v1alpha1.SnapshotFailed &&
			c.Reason == v1alpha1.ReasonCancelled {
			c.Reason = stop
			h.components[v.Component] = c
		}
	}
}

// mark records in the components that their Job existed. If the Job is missing later, somebody deleted it.
func (h *host) mark() {
	for _, v := range h.Host.Volumes {
		if c := h.components[v.Component]; c.Phase == "" {
			c.Phase = v1alpha1.SnapshotPending
			c.Path, c.Driver = v.Path, h.Target.Task.Driver
			h.components[v.Component] = c
		}
	}
}

// restart forgets what the first attempt of a sidecar has begun: the second one has not, and is given up if it never
// does. The limits of a Job do not depend on that.
func (h *host) restart() {
	for _, v := range h.Host.Volumes {
		if h.components[v.Component].Phase == v1alpha1.SnapshotRunning && workload.IsSidecar(h.Target) {
			h.components[v.Component] = v1alpha1.Component{
				Phase: v1alpha1.SnapshotPending, Path: v.Path, Driver: h.Target.Task.Driver,
			}
		}
	}
}

// report fills in the components that are not terminal from the mover's Result. If a mover was told to stop, its
// unfinished components stay open: only the run can be cancelled, whereas a mover stops also when its pod is evicted or
// deleted.
func (h *host) report(result *task.Result) {
	reported := map[string]task.ComponentResult{}
	for _, c := range result.Components {
		reported[c.Name] = c
	}
	for _, v := range h.Host.Volumes {
		if h.components[v.Component].Phase.Terminal() {
			continue
		}
		c, ok := reported[v.Component]
		if c.Reason == v1alpha1.ReasonCancelled || !ok && run.FailureReason(result) == v1alpha1.ReasonCancelled {
			continue
		}
		if ok {
			out := c.Component(h.Target.Task.Driver)
			out.Path = v.Path
			if !task.TellsPatterns(len(h.components)) {
				out.UnmatchedPatterns = nil
			}
			if out.Phase == v1alpha1.SnapshotFailed {
				out.Reason = cmp.Or(out.Reason, run.FailureReason(result), v1alpha1.ReasonFailed)
				out.Error = cmp.Or(out.Error, result.Message)
			}
			h.components[v.Component] = out
			continue
		}
		h.failOne(v, cmp.Or(run.FailureReason(result), v1alpha1.ReasonJobFailed),
			cmp.Or(result.Message, "the mover did not report this component"))
	}
}

// fail ends every component of the host that is not terminal.
func (h *host) fail(reason, message string) {
	for _, v := range h.Host.Volumes {
		if !h.components[v.Component].Phase.Terminal() {
			h.failOne(v, reason, message)
		}
	}
}

func (h *host) failOne(v v1alpha1.ResolvedVolume, reason, message string) {
	c := h.components[v.Component]
	c.Phase, c.Reason, c.Error, c.Progress = v1alpha1.SnapshotFailed, reason, text.Shorten(message), nil
	c.Path, c.Driver = v.Path, h.Target.Task.Driver
	h.components[v.Component] = c
}

// MakesMover reports whether a Job of this name can be one that a frozen run makes to write a component of a Snapshot.
func MakesMover(s *v1alpha1.BackupSessionStatus, snapshot, component, job string) bool {
	for i := range s.Resolved.Targets {
		t := &s.Resolved.Targets[i]
		if !slices.ContainsFunc(t.Repositories, func(r v1alpha1.ResolvedRepository) bool {
			return r.Snapshot == snapshot
		}) {
			continue
		}
		for _, h := range t.Hosts {
			has := slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedVolume) bool {
				return v.Component == component
			})
			if has && (job == run.JobName(snapshot, h.Name, 1) || job == run.JobName(snapshot, h.Name, 2)) {
				return true
			}
		}
	}
	return false
}
