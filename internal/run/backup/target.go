package backup

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/text"
)

// targetRun is one target during a step of the run. Its status tells how far it is: Pending until the run reaches it,
// Running during its preBackup hooks, movers and postBackup hooks, and then its outcome, which never changes again.
type targetRun struct {
	run    *runner
	frozen *v1alpha1.ResolvedTarget
	status v1alpha1.BackupTargetStatus
	// ending means that the work is over and the postBackup hooks have begun. Reason and message of the status are then
	// those of the backup.
	ending bool
	// stop is the reason why the work of the target is being ended, and why explains it in words where the reason alone
	// is not enough.
	stop, why string
	// ready means that the preBackup hooks have ended.
	ready bool
	// refusal is what the API server refuses for now, nil where it refuses nothing.
	refusal *v1alpha1.ResolvedError
	// waits is a Job that waits for somebody else without a limit, and says why; zero where there is none.
	waits observe.Observation
}

// targets returns the targets of the run with their present status.
func (r *runner) targets() []*targetRun {
	resolved := r.d.Status.Resolved
	fresh := targetsOf(resolved)
	var out []*targetRun
	for i := range fresh {
		t := &targetRun{run: r, frozen: &resolved.Targets[i], status: fresh[i], stop: r.stop, why: r.why}
		if was := targetStatus(r.Session, fresh[i].Name); was != nil {
			t.status = *was.DeepCopy()
		}
		t.ending = hookround.PostBegun(t.status.Hooks)
		deadline := DeadlineOf(r.Session, t.frozen.Name)
		if t.begun() && t.stop == "" && !deadline.IsZero() {
			if r.Now.Before(deadline) {
				r.d.After = run.EarlierOf(r.d.After, max(deadline.Sub(r.Now), time.Second))
			} else {
				t.stop = v1alpha1.ReasonDeadlineExceeded
			}
		}
		out = append(out, t)
	}
	return out
}

// begun reports whether the target is at work.
func (t *targetRun) begun() bool { return t.status.Phase == v1alpha1.BackupSessionRunning }

// work advances the preBackup hooks and the movers of a target. Once the target is no longer at work, it only makes
// sure that Jobs that were given up are gone.
func (t *targetRun) work() {
	if t.status.Phase == v1alpha1.BackupSessionPending || t.begun() && !t.ending && !t.preBackup() {
		return
	}
	t.ready = true
	for i := range t.frozen.Repositories {
		t.snapshot(&t.frozen.Repositories[i])
	}
}

// finish derives the status of a target, and advances its postBackup hooks once the work is over.
func (t *targetRun) finish() {
	s := &t.status
	t.noteCopy(t.lastCopy())
	switch {
	case s.Phase.Terminal():
		t.keepSnapshots()
		t.discard()
		return
	case !t.begun():
		if t.run.stop == "" {
			return
		}
		s.Reason, s.Message = t.stop, text.Cut(cmp.Or(t.why, t.notBegun()), t.run.room(text.MaxMessage))
	case t.ending:
		t.keepSnapshots()
	case !t.ready || !t.result() || t.lingers():
		s.Reason, s.Message = v1alpha1.ReasonRunning, ""
		switch {
		case t.refusal == nil && t.waits.Reason != "":
			s.Reason, s.Message = t.waits.Reason, text.Cut(t.waits.Message, t.run.room(text.MaxMessage))
		case t.refusal != nil:
			s.Reason, s.Message = t.refusal.Reason, text.Cut(t.refusal.Message, t.run.room(text.MaxMessage))
			t.run.refusals = append(t.run.refusals, t.frozen.Name+": "+s.Message)
		}
		return
	}
	failures, ended := "", true
	if t.begun() {
		failures, ended = t.postBackup()
	}
	t.discard() // after the hooks: see Base.Thaws
	if !ended {
		return
	}
	s.Phase = v1alpha1.BackupSessionFailed
	if s.Reason == v1alpha1.ReasonSucceeded {
		s.Phase = v1alpha1.BackupSessionSucceeded
		if failures != "" {
			s.Phase, s.Reason = v1alpha1.BackupSessionFailed, v1alpha1.ReasonFailedToExecutePostBackupHooks
			s.Message = text.Cut(hookround.Backup.HooksFailedMessage("backed up", failures),
				t.run.room(text.MaxMessage))
		}
	}
	if s.StartTime != nil {
		at := metav1.NewTime(t.run.Now).Rfc3339Copy()
		s.CompletionTime, s.Duration = &at, text.Duration(at.Sub(s.StartTime.Time))
	}
}

// result derives the outcome of the backup from the Snapshots, and reports whether the backup is over.
func (t *targetRun) result() bool {
	s := &t.status
	s.Size, s.Uploaded = "", ""
	var uploaded int64
	done, failed := 0, 0
	fail := func(reason, message string) {
		if failed++; failed == 1 {
			s.Reason, s.Message = reason, text.Cut(message, t.run.room(text.MaxMessage))
		}
	}
	for i := range t.frozen.Repositories {
		repo := &t.frozen.Repositories[i]
		info := v1alpha1.SnapshotStatusInfo{
			Name: repo.Snapshot, Phase: v1alpha1.SnapshotPending, AppRef: &t.frozen.AppRef, Repository: repo.Name,
		}
		info.UID = Listed(t.run.Session, repo.Snapshot)
		status, ok := t.run.status(repo.Snapshot)
		switch refused := t.run.Refused[repo.Snapshot]; {
		case !ok && t.heldUp(refused):
		case !ok && refused != nil:
			fail(refused.Reason, refused.Message)
			if info.UID != "" { // else it would be made again
				info.Phase = v1alpha1.SnapshotFailed
				t.run.d.Status.Snapshots = append(t.run.d.Status.Snapshots, info)
			}
			continue
		case !ok && t.stop != "":
			fail(t.stop, cmp.Or(t.why, t.notBegun()))
			continue
		case ok:
			info.Phase, info.UID = status.Phase, t.run.Snapshots[repo.Snapshot].UID
			for _, c := range status.Components {
				uploaded += c.UploadedBytes
			}
			if i == 0 {
				s.Size = status.Size
			}
		}
		t.run.d.Status.Snapshots = append(t.run.d.Status.Snapshots, info)
		switch info.Phase {
		case v1alpha1.SnapshotSucceeded:
			done++
		case v1alpha1.SnapshotFailed:
			fail(firstFailure(status.Components))
		}
	}
	if done+failed < len(t.frozen.Repositories) {
		s.Size = ""
		return false
	}
	switch {
	case failed > 0:
	case done > 0:
		s.Reason, s.Message = v1alpha1.ReasonSucceeded, ""
	default:
		fail(v1alpha1.ReasonInvalidTask, "the target has no Repository, so nothing was backed up")
	}
	s.Uploaded = task.FormatSize(uploaded)
	return true
}

// heldUp reports whether the target waits until a refusal has passed, and notes that. It does not wait for ever, and
// not if it is being ended.
func (t *targetRun) heldUp(refusal *v1alpha1.ResolvedError) bool {
	left := run.RefusedLeft(t.run.Session.Status.Conditions, t.refusedSince(), t.run.Now)
	if !run.CanPass(refusal) || left == 0 || t.stop != "" {
		return false
	}
	t.refusal = refusal
	t.run.d.Again = run.EarlierOf(t.run.d.Again, run.RefusedAgain(left))
	return true
}

// refusedSince returns since when a refusal of the target can count: since its start, or since the last other target
// has ended, which can give room of a quota back. A target whose application may be frozen waits for no other one.
func (t *targetRun) refusedSince() *metav1.Time {
	session := t.run.Session
	if t.mayBeFrozen() {
		return t.status.StartTime
	}
	times := []*metav1.Time{t.status.StartTime}
	for i := range session.Status.Targets {
		times = append(times, session.Status.Targets[i].CompletionTime)
	}
	return run.LastOf(t.run.Now, times...)
}

// mayBeFrozen reports whether preBackup hooks have run that can have frozen what postBackup hooks thaw.
func (t *targetRun) mayBeFrozen() bool {
	of := func(hooks *v1alpha1.ResolvedHooks, status *v1alpha1.HookStatuses) bool {
		return status != nil && hookstage.MayHaveFrozen(hooks, status.PreHooks)
	}
	return of(t.frozen.Hooks, t.status.Hooks) || of(t.run.d.Status.Resolved.Hooks, t.run.Session.Status.Hooks)
}

// keepSnapshots keeps the Snapshots of a target whose work is over in the status of the run.
func (t *targetRun) keepSnapshots() {
	for _, info := range t.run.Session.Status.Snapshots {
		if slices.ContainsFunc(t.frozen.Repositories,
			func(r v1alpha1.ResolvedRepository) bool { return r.Snapshot == info.Name }) {
			t.run.d.Status.Snapshots = append(t.run.d.Status.Snapshots, info)
		}
	}
}

// Listed returns the UID of the Snapshot of this name that the status of a run lists, or "".
func Listed(s *v1alpha1.BackupSession, name string) types.UID {
	for i := range s.Status.Snapshots {
		if s.Status.Snapshots[i].Name == name {
			return s.Status.Snapshots[i].UID
		}
	}
	return ""
}

// notBegun explains why nothing was done for a target that was stopped.
func (t *targetRun) notBegun() string {
	switch {
	case t.stop != v1alpha1.ReasonDeadlineExceeded:
		return "the run was ended before it began"
	case t.run.stop == t.stop:
		return "the deadline of the run passed before it began"
	default:
		return "the deadline of the target passed before it began"
	}
}

// late says which deadline has passed.
func (t *targetRun) late() string {
	if t.run.stop == v1alpha1.ReasonDeadlineExceeded {
		return "the deadline of the run passed"
	}
	return "the deadline of the target passed"
}
