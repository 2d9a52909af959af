package backup

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/workload"
)

// planRetry sets when a run that has just ended is tried again, if one of its targets failed.
func planRetry(s *v1alpha1.BackupSession, status *v1alpha1.BackupSessionStatus) {
	if s.Spec.RetryLeft <= 0 || status.Phase != v1alpha1.BackupSessionFailed || stopped(s) ||
		len(failedTargets(status)) == 0 {
		return
	}
	at := *status.CompletionTime
	if delay := status.Resolved.RetryDelay; delay != nil {
		at = metav1.NewTime(at.Add(delay.Duration)).Rfc3339Copy()
	}
	status.NextRetry, status.Retried = &at, new(false)
}

// RetryIn returns how long the retry that is planned for a run still waits.
func RetryIn(s *v1alpha1.BackupSession, now time.Time) time.Duration {
	var delay time.Duration
	if r := s.Status.Resolved; r != nil {
		delay = ptr.Deref(r.RetryDelay, metav1.Duration{}).Duration
	}
	return run.Left(s.Status.NextRetry.Time, delay, now)
}

// failedTargets returns the frozen targets that failed.
func failedTargets(status *v1alpha1.BackupSessionStatus) []v1alpha1.ResolvedTarget {
	return targetsThat(status, v1alpha1.BackupSessionFailed)
}

// targetsThat returns the frozen targets that ended in one of the phases.
func targetsThat(
	status *v1alpha1.BackupSessionStatus, ended ...v1alpha1.BackupSessionPhase,
) []v1alpha1.ResolvedTarget {
	if status.Resolved == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(status.Resolved.Targets), func(t v1alpha1.ResolvedTarget) bool {
		return !slices.ContainsFunc(status.Targets, func(s v1alpha1.BackupTargetStatus) bool {
			return s.Name == t.Name && slices.Contains(ended, s.Phase)
		})
	})
}

// WhyNotRetryable explains why s can't retry the failed targets of the run of. It returns "" if s can.
func WhyNotRetryable(s, of *v1alpha1.BackupSession) string {
	switch {
	case of == nil:
		return "there is no BackupSession " + s.Spec.RetryOf
	case of.Spec.Invoker != s.Spec.Invoker || of.Spec.Session != s.Spec.Session:
		return "BackupSession " + of.Name + " is a run of another session"
	case of.Status.Phase != v1alpha1.BackupSessionFailed || len(failedTargets(&of.Status)) == 0:
		return "nothing failed in BackupSession " + of.Name
	default:
		return ""
	}
}

// Again turns start into a retry of the run of, for the targets that failed or were skipped in it: without the skipped
// ones, a successful retry would count as a backup of all. current holds these targets as the policy has them now. They
// are used, with their present pods and volumes, if the policy has not changed. Otherwise the frozen targets are tried
// again unchanged; a target that was skipped is skipped again then.
func (start *Start) Again(s, of *v1alpha1.BackupSession, current []StartTarget) {
	frozen := of.Status.Resolved
	same := frozen.Policy.Digest == start.Policy.Digest
	start.Policy, start.PolicyApplying = frozen.Policy, false
	start.RestorePoint, start.RestorePointUID = frozen.RestorePoint, frozen.RestorePointUID
	if start.RestorePoint == "" { // of began it
		start.RestorePoint, start.RestorePointUID = of.Name, of.UID
	}
	if start.RestorePointTime = frozen.RestorePointTime; start.RestorePointTime == nil {
		start.RestorePointTime = new(metav1.NewTime(SlotOf(of))) // of began it, or an earlier version has frozen of
	}
	start.Schedule, start.RetryDelay, start.SuccessPolicy = frozen.Schedule, frozen.RetryDelay, frozen.SuccessPolicy
	if s.Spec.BackupTimeout == nil {
		start.Timeout = ptr.Deref(frozen.Timeout, metav1.Duration{}).Duration
	}
	start.Hooks, start.HookError = hooksForRetry(frozen.Hooks, s.Name), nil
	start.ExecutionOrder, start.MaxParallel = frozen.ExecutionOrder, frozen.MaxParallel
	start.Targets = nil
	for _, t := range targetsThat(&of.Status, v1alpha1.BackupSessionFailed, v1alpha1.BackupSessionSkipped) {
		i := slices.IndexFunc(current, func(n StartTarget) bool { return n.Resolved.Name == t.Name })
		if same && i >= 0 {
			target := current[i]
			if t.Error == nil {
				target.Resolved.Hooks, target.HookError = hooksForRetry(t.Hooks, s.Name), nil
			}
			start.Targets = append(start.Targets, target)
			continue
		}
		target := *t.DeepCopy()
		target.Hooks = hooksForRetry(t.Hooks, s.Name)
		workload.RenameCopies(&target, s.UID)
		renameVolumeSnapshots(target.Hosts, s.CreationTimestamp.Time)
		for j := range target.Repositories {
			repo := &target.Repositories[j]
			repo.Snapshot = policy.SnapshotName(repo.Name, s.Name) // unless a scan has made one of that name
		}
		start.Targets = append(start.Targets, StartTarget{Resolved: target})
	}
}

// Superseded returns another run of the session that makes a retry of s needless, or will unless it is in vain: then it
// has not ended yet. It is newer than s, is no retry itself and is no record. It returns nil if there is none. A run
// that a clock of the future has dated is not known to be newer.
func Superseded(
	s *v1alpha1.BackupSession, others []v1alpha1.BackupSession, now time.Time,
) (by *v1alpha1.BackupSession) {
	for i := range others {
		o := &others[i]
		switch {
		case !follows(s, o, now):
		case !o.Status.Phase.Terminal():
			by = o
		case !inVain(&o.Status) && o.DeletionTimestamp == nil:
			return o
		}
	}
	return by
}

// RetryDue returns since when a planned retry of s is due: it waits for later runs, which were in vain.
func RetryDue(s *v1alpha1.BackupSession, others []v1alpha1.BackupSession, now time.Time) time.Time {
	due := s.Status.NextRetry.Time
	for i := range others {
		o := &others[i]
		if end := EndOf(o); follows(s, o, now) && o.Status.Phase.Terminal() && end.After(due) {
			due = end
		}
	}
	if due.After(now) { // a clock that was ahead has planned it, or has ended the other run
		return now
	}
	return due
}

// follows reports whether a run of the same session, which is no retry itself, is newer than s.
func follows(s, other *v1alpha1.BackupSession, now time.Time) bool {
	return other.UID != s.UID && other.Spec.Invoker == s.Spec.Invoker && other.Spec.Session == s.Spec.Session &&
		other.Spec.RetryOf == "" && !v1alpha1.HasRecordAnnotation(other.Annotations) && laterThan(s, other, now)
}

// inVain reports whether a run was skipped, or has failed and nothing tries it again.
func inVain(s *v1alpha1.BackupSessionStatus) bool {
	return s.Phase == v1alpha1.BackupSessionSkipped ||
		s.Phase == v1alpha1.BackupSessionFailed && s.NextRetry == nil && !ptr.Deref(s.Retried, false)
}
