package trigger

import (
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
	"github.com/cairn-backup/cairn/internal/session"
)

// protection says how old the last success of a session may become.
type protection struct {
	session string
	// due is when the next success must be there.
	due time.Time
	// late says that it is not, and suspended that it will not be.
	late, suspended bool
	// none says that there never was one.
	none bool
}

// protect judges the last success: the run of the slot after its own must have succeeded within its time. Where its run is
// gone its end takes the place of its slot, and where there was none, when the schedule came into force.
func protect(b *book, times schedule.Times, last success, since time.Time) *protection {
	p := &protection{session: b.config.Name, suspended: b.suspended()}
	slot := last.slot
	if known := b.previous.LastSuccessTime; known != nil && known.After(last.ended) {
		slot = known.Time
	}
	p.none = slot.IsZero()
	if p.none {
		slot = since
	}
	timeout := session.DefaultTimeout
	if b.config.BackupTimeout != nil {
		timeout = b.config.BackupTimeout.Duration
	}
	p.due = times.Due(slot, timeout)
	p.late = b.now.After(p.due)
	return p
}

// protected sets the condition Protected from the protection of all sessions with a schedule. Where none has one there is
// no such condition: nobody promised a backup.
func protected(o conditions.Setter, all []*protection) {
	var late, none []string
	suspended := true
	for _, p := range all {
		switch {
		case p.late:
			late = append(late, p.session)
			suspended = suspended && p.suspended
		case p.none:
			none = append(none, p.session)
		}
	}
	switch {
	case len(all) == 0:
		conditions.Delete(o, v1alpha1.ConditionProtected)
	case len(late) > 0 && suspended:
		conditions.MarkFalse(o, v1alpha1.ConditionProtected, v1alpha1.ReasonSuspended,
			"the last success is too long ago, and the schedule is suspended: %s", strings.Join(late, ", "))
	case len(late) > 0:
		conditions.MarkFalse(o, v1alpha1.ConditionProtected, v1alpha1.ReasonLate,
			"a run that was due has not succeeded within its time: %s. See the BackupSessions of the session", strings.Join(late, ", "))
	case len(none) > 0:
		conditions.MarkUnknown(o, v1alpha1.ConditionProtected, v1alpha1.ReasonNoBackupYet, "no run has succeeded yet: %s", strings.Join(none, ", "))
	default:
		conditions.MarkTrue(o, v1alpha1.ConditionProtected, v1alpha1.ReasonProtected, "the last run of every session succeeded in time")
	}
}
