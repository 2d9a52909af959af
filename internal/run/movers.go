package run

import (
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// JobName returns the name of the Job that backs up a host into a Snapshot. Attempt 2 runs when a mover died without a
// report.
func JobName(snapshot, host string, attempt int) string {
	if attempt > 1 {
		return policy.JobName("backup", snapshot, host, "2")
	}
	return moverjob.BackupJobName(snapshot, host)
}

// FormatMovers returns the value of AnnotationMovers, ordered by component. It says which Job is allowed to write which
// component.
func FormatMovers(movers map[string]string) string {
	pairs := make([]string, 0, len(movers))
	for _, component := range slices.Sorted(maps.Keys(movers)) {
		pairs = append(pairs, component+"="+movers[component])
	}
	return strings.Join(pairs, ",")
}

// ParseMovers parses the value of AnnotationMovers.
func ParseMovers(value string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.Split(value, ",") {
		if component, job, ok := strings.Cut(pair, "="); ok {
			out[component] = job
		}
	}
	return out
}

// Fenced returns the names of the Jobs that the value before of AnnotationMovers allows to write and the value after
// does not, and the reasons for that, each once and in order. reason returns the reason of a component's status,
// and own reports whether a Job is one that the run makes for the component. A user can write anything into before:
// only a Job among jobs counts, or an own one, which is gone or hangs.
func Fenced(
	before, after string, jobs map[string]Job, reason func(component string) string,
	own func(component, job string) bool,
) (names, reasons []string) {
	now := ParseMovers(after)
	fenced, why := map[string]bool{}, map[string]bool{}
	for c, name := range ParseMovers(before) {
		job, exists := jobs[name]
		if now[c] == name || !exists && !own(c, name) {
			continue
		}
		fenced[name] = true
		because := job.Reason
		if job.State != observe.StateFailed {
			because = reason(c)
		}
		if task.IsReason(because) {
			why[because] = true
		}
	}
	return slices.Sorted(maps.Keys(fenced)), slices.Sorted(maps.Keys(why))
}

// FirstMovers returns the value that AnnotationMovers has when a target's Snapshot is created.
func FirstMovers(snapshot string, hosts []v1alpha1.ResolvedHost) string {
	out := map[string]string{}
	for _, h := range hosts {
		for _, v := range h.Volumes {
			out[v.Component] = JobName(snapshot, h.Name, 1)
		}
	}
	return FormatMovers(out)
}

// GivenUp reports whether a component failed because its Job was given up. If the Job still exists it must be stopped.
// A mover itself reports a failure with one of these reasons only when it is ending anyway.
func GivenUp(c v1alpha1.Component) bool {
	if c.Phase != v1alpha1.SnapshotFailed {
		return false
	}
	switch c.Reason {
	case v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonNodeLost,
		v1alpha1.ReasonJobFailed, v1alpha1.ReasonOutOfMemory,
		v1alpha1.ReasonEvicted, v1alpha1.ReasonPodDeleted, v1alpha1.ReasonPodNotCreated, v1alpha1.ReasonPodNotStarted,
		v1alpha1.ReasonQuotaExceeded, v1alpha1.ReasonVolumeMountFailed, v1alpha1.ReasonSidecarNotReady,
		v1alpha1.ReasonCopyFailed,
		v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonCancelled, v1alpha1.ReasonReplaced, v1alpha1.ReasonJobVanished:
		return true
	default:
		return false
	}
}

// WorthRepeating reports whether a Job that ended without a Result may have left a complete backup behind: its mover
// ran and was killed, or its node was lost. A second mover finds the data by its tag and reports it, or backs up again.
func WorthRepeating(job Job) bool {
	switch job.Reason {
	case v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonInvalidTask, v1alpha1.ReasonStepFailed:
		return false
	default:
		return job.Finished || job.Reason == v1alpha1.ReasonNodeLost || job.Reason == v1alpha1.ReasonEvicted ||
			job.Reason == v1alpha1.ReasonPodDeleted
	}
}
