package backup

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/schedule"
	"github.com/cairn-backup/cairn/internal/text"
)

// start decides whether a run waits, ends at once, or is frozen. Later steps look only at what is frozen.
func start(in Input) Decision {
	d := Decision{Status: *in.Session.Status.DeepCopy()}
	d.Status.ObservedGeneration = in.Session.Generation
	s := in.Start
	switch {
	case in.Session.DeletionTimestamp != nil:
		end(in, &d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonCancelled, "deleted before it started")
	case stopped(in.Session):
		_, message := stoppedAt(in.Session)
		end(in, &d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonReplaced, message)
	case isCopy(in.Session):
		end(in, &d, v1alpha1.BackupSessionSkipped, v1alpha1.ReasonCopyOfRun,
			"this is a copy of an old run that came back without its status, for example from an export: to back up, "+
				"create a BackupSession without the annotation "+v1alpha1.AnnotationRun)
	case s.Refused != nil:
		end(in, &d, v1alpha1.BackupSessionFailed, s.Refused.Reason, s.Refused.Message)
	case wrongCronJob(in.Session, s.CronJob):
		end(in, &d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonNotPermitted,
			fmt.Sprintf("the annotation %s names a CronJob that does not belong to this session",
				v1alpha1.AnnotationCronJob))
	case !s.Deadline.IsZero() && in.Now.After(s.Deadline) && !s.Rivals.hasReplaced(in.Session):
		end(in, &d, v1alpha1.BackupSessionSkipped, v1alpha1.ReasonStartingDeadlineExceeded,
			"the starting deadline of the run has passed since its slot")
	case s.PolicyApplying && in.Now.Before(s.Until(run.WaitForPolicy)):
		wait(in, &d, v1alpha1.ReasonProgressing, "waiting for the PolicySync to apply its revision",
			s.Until(run.WaitForPolicy))
	case s.HookError != nil:
		hookError(in, &d)
	default:
		if t, until := waitsFor(in.Now, s); t != nil {
			wait(in, &d, t.Error.Reason, fmt.Sprintf("waiting for target %s: %s", t.Name, t.Error.Message), until)
			return d
		}
		switch {
		case len(s.Targets) == 0:
			end(in, &d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonTargetNotFound,
				"the selectors of the session's targets match nothing, so there is nothing to back up: correct them")
		case handleRivals(in, &d):
		case s.HooksOf != "":
			wait(in, &d, v1alpha1.ReasonHooksInProgress,
				fmt.Sprintf("waiting for the end of BackupSession %s, which has hooks on the same target or in the "+
					"same pods", s.HooksOf),
				in.Now.Add(run.PollInterval))
		default:
			freeze(in, &d)
		}
	}
	return d
}

// Freezes reports whether the next step of a run is to freeze it.
func Freezes(in Input) bool { return start(in).Status.Resolved != nil }

// isCopy reports whether a run has the note of another one. A run without a slot has no deadline that would tell that
// it is an old one.
func isCopy(s *v1alpha1.BackupSession) bool {
	uid := s.Annotations[v1alpha1.AnnotationRun]
	return uid != "" && uid != string(s.UID)
}

func wrongCronJob(s *v1alpha1.BackupSession, want string) bool {
	name, ok := s.Annotations[v1alpha1.AnnotationCronJob]
	return ok && name != want
}

// startMargin is how long before its deadline a run starts at the latest: enough for a manager that is busy.
const startMargin = 10 * time.Second

// Until returns until when the run waits at most for something that can take so long. It ends in time for the run to
// start before its deadline: what is missing then fails its target, and not the run.
func (s *Start) Until(wait time.Duration) time.Time {
	until := s.Since.Add(wait)
	if last := s.Deadline.Add(-min(startMargin, max(s.Deadline.Sub(s.Since)/4, 0))); !s.Deadline.IsZero() &&
		last.Before(until) {
		return last
	}
	return until
}

// waitsFor returns the first target whose error can still go away, and until when to wait for it.
func waitsFor(now time.Time, s *Start) (*v1alpha1.ResolvedTarget, time.Time) {
	for i := range s.Targets {
		trouble, wait := s.Targets[i].trouble()
		if until := s.Until(wait); trouble != nil && now.Before(until) {
			return &v1alpha1.ResolvedTarget{Name: s.Targets[i].Resolved.Name, Error: trouble}, until
		}
	}
	return nil, time.Time{}
}

// wait leaves the run Pending and reports at once what it waits for.
func wait(in Input, d *Decision, reason, message string, until time.Time) {
	d.Status.Phase, d.Status.Reason = v1alpha1.BackupSessionPending, reason
	d.Event = run.Wait(&d.Status.Conditions, reason, message, in.Session.Generation, in.Now)
	if s := in.Start; !in.Now.After(s.Deadline) && s.Deadline.Before(until) {
		until = s.Deadline.Add(time.Second)
	}
	d.After = min(max(until.Sub(in.Now), time.Second), run.PollInterval)
}

// freeze writes down the inputs of the run.
func freeze(in Input, d *Decision) {
	s := in.Start
	now := metav1.NewTime(in.Now).Rfc3339Copy()
	timeout, deadline := run.Bounds(s.Timeout, now)
	resolved := &v1alpha1.ResolvedBackup{
		Policy: s.Policy, Schedule: s.Schedule, Timeout: timeout,
		SuccessPolicy: successPolicy(in), RetryDelay: s.RetryDelay, RestorePoint: s.RestorePoint, Hooks: hooksOf(s),
		RestorePointUID: s.RestorePointUID, RestorePointTime: s.RestorePointTime,
		ExecutionOrder: s.ExecutionOrder, MaxParallel: s.MaxParallel,
	}
	var snapshots int32
	for _, t := range s.Targets {
		target := t.Resolved
		target.Hooks = target.Hooks.DeepCopy()
		if target.Error, _ = t.trouble(); target.Error != nil {
			target.Error.Message = text.Cut(target.Error.Message, run.LimitPerTarget(len(s.Targets), text.MaxMessage))
			target.Hosts, target.Copies, target.Repositories, target.Hooks = nil, nil, nil, nil
		}
		if target.Hooks != nil {
			target.Hooks.Targets = []v1alpha1.TypedObjectReference{target.AppRef}
		}
		snapshots += int32(len(target.Repositories))
		resolved.Targets = append(resolved.Targets, target)
	}
	d.Status.Resolved = resolved
	d.Status.StartTime, d.Status.BackupDeadline, d.Status.TotalSnapshots = &now, deadline, &snapshots
	d.Status.Phase, d.Status.Reason = v1alpha1.BackupSessionRunning, v1alpha1.ReasonRunning
	d.Status.Targets = targetsOf(resolved)
	if tooLarge(&d.Status) {
		d.Status = *in.Session.Status.DeepCopy()
		d.Status.ObservedGeneration = in.Session.Generation
		end(in, d, v1alpha1.BackupSessionFailed, v1alpha1.ReasonTooManyTargets,
			"the run has too many targets to fit into one object: spread them over several sessions")
		return
	}
	if !hookround.Has(resolved.Hooks, hookstage.Pre) {
		startTargets(d.Status.Targets, resolved, in.Now)
	}
	if missing := missingText(s.Targets); missing != "" { // conclude keeps it if there is a backup
		run.Partial(&d.Status.Conditions, missing, in.Session.Generation, in.Now)
	}
	run.Progress(&d.Status.Conditions, v1alpha1.ReasonRunning, "the backup runs", in.Session.Generation, in.Now)
	d.Event = &run.Event{Type: corev1.EventTypeNormal, Reason: run.ReasonStarted, Message: "the backup has started"}
}

// targetsOf returns the status of targets before any of them begins.
func targetsOf(r *v1alpha1.ResolvedBackup) []v1alpha1.BackupTargetStatus {
	var out []v1alpha1.BackupTargetStatus
	for i := range r.Targets {
		t := &r.Targets[i]
		s := v1alpha1.BackupTargetStatus{
			Name: t.Name, AppRef: t.AppRef, Configuration: t.Configuration,
			Phase: v1alpha1.BackupSessionPending, Reason: v1alpha1.ReasonPending,
		}
		if t.Error != nil {
			s.Phase, s.Reason, s.Message = v1alpha1.BackupSessionFailed, t.Error.Reason, t.Error.Message
			if t.Error.Reason == v1alpha1.ReasonRestoreInProgress {
				s.Phase = v1alpha1.BackupSessionSkipped
			}
		}
		out = append(out, s)
	}
	return out
}

// leastStartingDeadline is the minimum delay that a run is allowed if its session names no deadline: what a run waits
// for before it starts takes some minutes.
const leastStartingDeadline = 15 * time.Minute

// unscheduledDeadline is the delay that a run of a session without a readable schedule is allowed.
const unscheduledDeadline = 24 * time.Hour

// Timing returns the cron line of a run's session, or "" without a readable schedule, and the time after which the run
// must not start. That is the scheduler's deadline. Without a deadline it is the next slot, but at least
// leastStartingDeadline after the slot of the run; without a schedule it is unscheduledDeadline after this slot. So a
// run that was restored from elsewhere without its status does not start. A run without a slot has no deadline: the
// time is zero, and only isCopy finds such an old run.
func Timing(s *v1alpha1.BackupSession, scheduler *v1alpha1.SchedulerSpec) (line string, deadline time.Time) {
	var times schedule.Times
	readable := false
	if scheduler != nil {
		var err error
		times, err = schedule.New(scheduler,
			schedule.Identity(s.Spec.Invoker.Kind, s.Namespace, s.Spec.Invoker.Name, s.Spec.Session))
		if readable = err == nil; readable {
			line = times.Line()
		}
	}
	if s.Spec.ScheduledTime == nil {
		return line, time.Time{}
	}
	slot := s.Spec.ScheduledTime.Time
	switch {
	case scheduler != nil && scheduler.StartingDeadlineSeconds != nil:
		return line, slot.Add(time.Duration(*scheduler.StartingDeadlineSeconds) * time.Second)
	case !readable:
		return line, slot.Add(unscheduledDeadline)
	}
	next := times.Next(slot)
	if least := slot.Add(leastStartingDeadline); next.Before(least) {
		return line, least
	}
	return line, next
}

// successPolicy returns the policy that judges the run: that of its session, unless the run accepts that data is gone.
func successPolicy(in Input) *v1alpha1.SuccessPolicy {
	out := in.Start.SuccessPolicy.DeepCopy()
	if !in.Session.Spec.AcceptShrink {
		return out
	}
	if out == nil {
		out = &v1alpha1.SuccessPolicy{}
	}
	out.MaxShrinkPercent = new(int32(100))
	return out
}

// TimeoutOf returns the timeout of a run: its own, else that of its session. 0 means that it has none.
func TimeoutOf(s *v1alpha1.BackupSession, config *v1alpha1.SessionConfig) time.Duration {
	if own := cmp.Or(s.Spec.BackupTimeout, config.BackupTimeout); own != nil {
		return own.Duration
	}
	return 0
}
