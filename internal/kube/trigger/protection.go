package trigger

import (
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/schedule"
	"github.com/cairn-backup/cairn/internal/text"
)

// protection describes how old the last success of a session is allowed to become.
type protection struct {
	session string
	// due is when the next success must be there.
	due time.Time
	// late reports that it is not there, suspended that no run will come.
	late, suspended bool
	// none reports that the session never had a success.
	none bool
	// uncovered names what policy asks for and the last success has not backed up; "" if nothing.
	uncovered string
	// losses are of what the last success has backed up.
	losses
	// empty are the targets of the session whose selectors find nothing.
	empty []string
	// unfinished names the oldest run that has not ended. A run without a timeout can hang, and Forbid then holds up
	// the later ones.
	unfinished string
}

// protect judges the last success of a session with a schedule.
func protect(b *sessionFacts, status *v1alpha1.SessionStatus, last backup.Success) *protection {
	p := &protection{session: b.config.Name, suspended: b.suspended(), empty: b.empty}
	_, p.none = backup.WaitsSince(status, last, b.now)
	p.due, _ = backup.SuccessDue(status, &b.config, last, b.now, schedule.Next)
	c := b.covered(last)
	p.uncovered, p.losses, status.LastSuccessOf = c.uncovered, c.losses, c.digest
	if p.late = b.now.After(p.due); p.late {
		p.unfinished = unfinished(b.runs)
	}
	return p
}

// unreadable judges a session that never had a readable schedule.
func (j *judgement) unreadable(b *sessionFacts, last backup.Success) {
	j.status.Schedule = ""
	j.status = backup.Scheduled(j.status, &b.config, b.identity, b.created)
	j.protection = protect(b, &j.status, last)
	j.at(b.now, j.protection.due)
}

// unfinished returns the name of the oldest run that has not ended, or "".
func unfinished(runs []*v1alpha1.BackupSession) string {
	var oldest *v1alpha1.BackupSession
	for _, s := range runs {
		if !s.Status.Phase.Terminal() && (oldest == nil || policy.Older(s, oldest)) {
			oldest = s
		}
	}
	if oldest == nil {
		return ""
	}
	return oldest.Name
}

// losing are the messages about losses, the worst first.
var losing = []struct{ reason, message string }{
	{v1alpha1.ReasonSnapshotNotFound, "no backup is left of what the last success has backed up: %s"},
	{v1alpha1.ReasonRepositoryDamaged, "a check has found every backup damaged of what the last success has backed " +
		"up: %s. Start a run: it backs up all data again. cairn get snapshots shows which backups are damaged"},
	{v1alpha1.ReasonHalfRestored, "before the newest backup was made, a restore can have written into the target and " +
		"did not end well, so that latest does not take it: %s. If the target was restored whole since, start a run. " +
		"Otherwise restore, by its name, a Snapshot without a mark in the column HALF-RESTORED of cairn get snapshots" +
		", or, if the data of the target is right, remove the annotation " +
		v1alpha1.AnnotationHalfRestored + " from the PersistentVolumeClaim or the Lease of the database, and start " +
		"a run then"},
	{v1alpha1.ReasonNotChecked, "a scan has found all that is left of what the last success has backed up, and no " +
		"check has looked at it: %s. Start a run, or wait for the check"},
}

// protected sets the condition Protected from the protections of all sessions with a schedule. Without such a session
// it removes the condition: nobody promised a backup.
func protected(o conditions.Setter, all []*protection) {
	var late, none, uncovered, empty []string
	lost := map[string][]string{}
	suspended := true
	for _, p := range all {
		switch {
		case p.late:
			if p.unfinished != "" {
				late = append(late, fmt.Sprintf("%s (BackupSession %s has not ended)", p.session, p.unfinished))
			} else {
				late = append(late, p.session)
			}
			suspended = suspended && p.suspended
		case p.none && p.suspended:
			none = append(none, p.session+" (its schedule is suspended)")
		case p.none:
			none = append(none, p.session)
		case p.losses != (losses{}):
			reason, names := p.worst()
			lost[reason] = append(lost[reason], p.session+": "+names)
		case p.uncovered != "":
			uncovered = append(uncovered, p.session+": "+p.uncovered)
		case len(p.empty) > 0:
			empty = append(empty, p.session+": "+strings.Join(p.empty, ", "))
		}
	}
	switch {
	case len(all) == 0:
		conditions.Delete(o, v1alpha1.ConditionProtected)
	case len(late) > 0 && suspended:
		conditions.MarkFalse(o, v1alpha1.ConditionProtected, v1alpha1.ReasonSuspended,
			"the last success is too old, and the schedule is suspended: %s", strings.Join(late, ", "))
	case len(late) > 0:
		conditions.MarkFalse(o, v1alpha1.ConditionProtected, v1alpha1.ReasonLate,
			"a run that was due has not succeeded within its time: %s. See the BackupSessions of the session",
			strings.Join(late, ", "))
	case len(lost) > 0:
		for _, l := range losing {
			if parts := lost[l.reason]; parts != nil {
				conditions.MarkFalse(o, v1alpha1.ConditionProtected, l.reason, l.message, text.Join(parts))
				return
			}
		}
	case len(none) > 0:
		conditions.MarkUnknown(o, v1alpha1.ConditionProtected, v1alpha1.ReasonNoBackupYet,
			"no run has succeeded yet: %s", strings.Join(none, ", "))
	case len(uncovered) > 0:
		conditions.MarkUnknown(o, v1alpha1.ConditionProtected, v1alpha1.ReasonNoBackupYet,
			"the policy asks for more than the last success has backed up: %s", text.Join(uncovered))
	case len(empty) > 0:
		conditions.MarkUnknown(o, v1alpha1.ConditionProtected, v1alpha1.ReasonSelectorFindsNothing,
			"the selectors of these targets find nothing, so nothing of theirs is backed up: %s", text.Join(empty))
	default:
		conditions.MarkTrue(o, v1alpha1.ConditionProtected, v1alpha1.ReasonProtected,
			"the last success of every session is recent enough for its schedule")
	}
}
