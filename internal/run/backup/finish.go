package backup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// FinishSnapshot derives the status of a Snapshot from its components. began is when its run began, of is its metadata.
func FinishSnapshot(
	s *v1alpha1.SnapshotStatus, t *v1alpha1.ResolvedTarget, of *metav1.ObjectMeta, began *metav1.Time, now time.Time,
) {
	generation := of.Generation
	before := *s
	deriveSnapshot(s, t, generation, now)
	switch {
	case !s.Phase.Terminal():
	case s.Phase == before.Phase && before.SnapshotTime != nil:
		s.SnapshotTime = before.SnapshotTime
	default:
		withinRun(s, of, began, now)
	}
	if s.LastUpdateTime == nil || s.Phase != before.Phase || s.Size != before.Size ||
		s.TotalComponents != before.TotalComponents {
		at := metav1.NewTime(now).Rfc3339Copy()
		s.LastUpdateTime = &at
	}
}

func deriveSnapshot(s *v1alpha1.SnapshotStatus, t *v1alpha1.ResolvedTarget, generation int64, now time.Time) {
	s.ObservedGeneration = generation
	var size int64
	var done, failed, running int
	var last *metav1.Time
	s.TotalComponents = 0
	for i := range t.Hosts {
		for _, v := range t.Hosts[i].Volumes {
			s.TotalComponents++
			c := s.Components[v.Component]
			switch c.Phase {
			case v1alpha1.SnapshotSucceeded:
				done++
				size += c.SizeBytes
				if last == nil || c.CompletionTime != nil && last.Before(c.CompletionTime) {
					last = c.CompletionTime
				}
			case v1alpha1.SnapshotFailed:
				failed++
			case v1alpha1.SnapshotRunning:
				running++
			}
		}
	}
	switch total := int(s.TotalComponents); {
	case done+failed < total:
		message := "no mover has begun"
		begun := s.Phase == v1alpha1.SnapshotRunning // by a first attempt, perhaps
		s.Phase = v1alpha1.SnapshotPending
		if begun || done+failed+running > 0 {
			s.Phase, message = v1alpha1.SnapshotRunning, "the backup runs"
		}
		run.Progress(&s.Conditions, v1alpha1.ReasonProgressing, message, generation, now)
		return
	case failed > 0, total == 0:
		s.Phase = v1alpha1.SnapshotFailed
		reason, message := firstFailure(s.Components)
		run.Conclude(&s.Conditions, false, reason, message, generation, now)
	default:
		s.Phase = v1alpha1.SnapshotSucceeded
		flaws := slices.Concat(flawsOf(s.Components, allowed), flawsOf(s.Components, unrest))
		if len(flaws) > 0 {
			run.Partial(&s.Conditions, strings.Join(flaws, "; "), generation, now)
		}
		run.Conclude(&s.Conditions, true, v1alpha1.ReasonSucceeded, "all components are backed up", generation, now)
	}
	if last == nil {
		end := metav1.NewTime(now).Rfc3339Copy()
		last = &end
	}
	s.SnapshotTime, s.Size = last, task.FormatSize(size)
}

// withinRun moves the time of a Snapshot into its run, as far as the clock of the mover's node disagrees with that of
// the manager. Retention and restores of the latest Snapshot compare these times.
func withinRun(s *v1alpha1.SnapshotStatus, of *metav1.ObjectMeta, began *metav1.Time, now time.Time) {
	said, clamped := s.SnapshotTime.Time, s.SnapshotTime.Time
	message := "the clock of a mover's node is wrong: its times lie outside of the run. snapshotTime comes from the " +
		"manager's clock; correct the clock of the node"
	if began != nil && clamped.Before(began.Time) {
		clamped = began.Time
	}
	if clamped.After(now) {
		clamped = now
	}
	wrong := said.Sub(clamped).Abs() > v1alpha1.ClockTolerance
	if began != nil {
		if at, ok := v1alpha1.ByServer(said, began.Time, now, of.CreationTimestamp.Time); ok {
			clamped, wrong = at, true
			message = "the clock of the manager is wrong, or was when the run began: snapshotTime comes from the " +
				"clock of the API server; correct the clock of the manager's node"
		}
	}
	at := metav1.NewTime(clamped).Rfc3339Copy()
	s.SnapshotTime = &at
	if wrong {
		run.Set(&s.Conditions, v1alpha1.ConditionClockSkewed, metav1.ConditionTrue, v1alpha1.ReasonClockSkew, message,
			of.Generation, now)
	}
}

// firstFailure returns the reason and message of the first failed component by name. If none failed, the target had no
// volumes.
func firstFailure(components map[string]v1alpha1.Component) (reason, message string) {
	for _, name := range slices.Sorted(maps.Keys(components)) {
		if c := components[name]; c.Phase == v1alpha1.SnapshotFailed {
			reason = task.ReasonOfFailure(c.Reason)
			return reason, fmt.Sprintf("component %s: %s", name, cmp.Or(c.Error, reason))
		}
	}
	return v1alpha1.ReasonNoVolumes, "the target has no volume that is backed up"
}

// finish derives the status of the run from its targets, starts targets whose turn has come, and ends the run when
// every target has ended.
func (r *runner) finish(targets []*targetRun) {
	s := &r.d.Status
	s.Targets, s.Snapshots = nil, nil
	open := 0
	var failed []string
	for _, t := range targets {
		before := t.status.Phase
		t.finish()
		s.Targets = append(s.Targets, t.status)
		if !t.status.Phase.Terminal() {
			open++
		}
		if t.status.Phase == v1alpha1.BackupSessionFailed && before != t.status.Phase {
			failed = append(failed, t.frozen.Name+": "+cmp.Or(t.status.Message, t.status.Reason))
		}
	}
	if len(failed) > 0 && len(targets) > 1 {
		r.d.Event = &run.Event{
			Type: corev1.EventTypeWarning, Reason: v1alpha1.ReasonTargetsFailed,
			Message: text.Shorten(strings.Join(failed, "; ")),
		}
	}
	refused := run.ReportRefused(&s.Conditions, strings.Join(r.refusals, "; "), r.Session.Generation, r.Now)
	r.d.Event = cmp.Or(r.d.Event, refused)
	if open == 0 {
		r.conclude()
		return
	}
	s.Phase, s.Reason = v1alpha1.BackupSessionRunning, v1alpha1.ReasonRunning
	if r.stop == "" {
		if startTargets(s.Targets, s.Resolved, r.Now) {
			r.d.After = run.EarlierOf(r.d.After, time.Second)
		}
		r.d.After = run.EarlierOf(r.d.After, run.Until(s.BackupDeadline, r.Now))
	}
}

// status returns the status of a Snapshot after this step.
func (r *runner) status(name string) (v1alpha1.SnapshotStatus, bool) {
	if s, ok := r.d.Snapshots[name]; ok {
		return s, true
	}
	if s := r.Snapshots[name]; s != nil {
		return s.Status, true
	}
	return v1alpha1.SnapshotStatus{}, false
}

// conclude ends the run once its postBackup hooks have ended. The reason of the run is that of its only target, or the
// one that stopped the run if all unsuccessful targets have it.
func (r *runner) conclude() {
	hooks, ended := r.postBackup()
	if !ended {
		return
	}
	count := map[v1alpha1.BackupSessionPhase]int{}
	var reasons, messages []string
	for _, t := range r.d.Status.Targets {
		count[t.Phase]++
		if t.Phase != v1alpha1.BackupSessionSucceeded {
			messages = append(messages, t.Name+": "+cmp.Or(t.Message, t.Reason))
			if !slices.Contains(reasons, t.Reason) {
				reasons = append(reasons, t.Reason)
			}
		}
	}
	succeeded, failed := count[v1alpha1.BackupSessionSucceeded], count[v1alpha1.BackupSessionFailed]
	lacks := append(slices.Clone(messages), r.losses()...)
	if missing := apimeta.FindStatusCondition(r.d.Status.Conditions, v1alpha1.ConditionPartial); missing != nil {
		apimeta.RemoveStatusCondition(&r.d.Status.Conditions, v1alpha1.ConditionPartial)
		if succeeded > 0 {
			lacks = append(lacks, missing.Message)
		}
	}
	flaws := append(r.flaws(allowed), r.flaws(unrest)...)
	if succeeded > 0 && len(lacks) > 0 || succeeded == 0 && r.someComponents() || len(flaws) > 0 {
		run.Partial(&r.d.Status.Conditions, strings.Join(append(slices.Clone(lacks), flaws...), "; "),
			r.Session.Generation, r.Now)
	}
	switch {
	case failed > 0:
		reason := v1alpha1.ReasonTargetsFailed
		if len(reasons) == 1 && (len(r.d.Status.Targets) == 1 || r.stop == reasons[0]) {
			reason = reasons[0]
		}
		end(r.Input, r.d, v1alpha1.BackupSessionFailed, reason, strings.Join(messages, "; "))
	case hooks != "":
		end(r.Input, r.d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonFailedToExecutePostBackupHooks,
			hookround.Backup.HooksFailedMessage(succeededMessage(r.d.Status.Targets), hooks))
	case succeeded > 0:
		end(r.Input, r.d, v1alpha1.BackupSessionSucceeded, v1alpha1.ReasonSucceeded,
			succeededMessage(r.d.Status.Targets))
		if len(lacks) > 0 {
			run.EndWithLess(r.d.Event, strings.Join(lacks, "; "))
		}
	case count[v1alpha1.BackupSessionSkipped] > 0:
		end(r.Input, r.d, v1alpha1.BackupSessionSkipped, reasons[0], strings.Join(messages, "; "))
		r.d.Event.Type = corev1.EventTypeWarning
	default:
		end(r.Input, r.d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonNoVolumes, "the session has no targets")
	}
}

// succeededMessage names what was backed up.
func succeededMessage(targets []v1alpha1.BackupTargetStatus) string {
	var names []string
	for _, t := range targets {
		if t.Phase == v1alpha1.BackupSessionSucceeded {
			names = append(names, t.Name)
		}
	}
	return "backed up " + strings.Join(names, ", ")
}

// someComponents reports whether a component succeeded in any Snapshot of the run.
func (r *runner) someComponents() bool {
	for _, info := range r.d.Status.Snapshots {
		status, _ := r.status(info.Name)
		for _, c := range status.Components {
			if c.Phase == v1alpha1.SnapshotSucceeded {
				return true
			}
		}
	}
	return false
}
