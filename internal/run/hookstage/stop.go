package hookstage

import (
	"fmt"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// beginning is how long after the start of an attempt in the status its action begins, as a rule. It is later while
// many hooks run.
const beginning = 5 * time.Second

// stop ends a pre hook because its run ends, and reports whether the hook has ended. Nothing can stop a command that
// runs in a container, nor what a server does for a request: a freeze would come after its thaw. So an attempt that
// still waits for its turn never begins, and one that has begun goes on, at the longest for its timeout. It is not
// known whether the attempt of a manager that was stopped goes on: that time is waited for, and the attempt is not made
// again.
func (s *Hooks) stop(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) bool {
	if h.Function != nil {
		s.giveUp(st, "the hook was stopped")
		s.Functions.Verify = true
		s.Functions.lingers(s.Stage, st, true)
		return true
	}
	if st.Phase != v1alpha1.HookRunning {
		s.giveUp(st, "the hook was stopped")
		return true
	}
	out, left := s.Results(s.last(st)), s.left(h, st)
	if out != nil && st.StartTime != nil && st.StartTime.Time.Before(out.Since.Truncate(time.Second)) {
		out = nil // An earlier process can have begun it.
	}
	switch {
	case out != nil && out.UnderWay:
		s.Stopped = append(s.Stopped, s.last(st))
		s.After = run.PollInterval
		return false
	case out != nil && out.Reason == v1alpha1.ReasonCancelled:
		s.giveUp(st, "the hook was stopped before it began")
	case out != nil && out.Pod != nil: // It has done nothing yet.
		s.giveUp(st, "the hook was stopped")
	case out != nil && out.Reason == "":
		s.succeed(st)
	case out != nil:
		s.fail(st, *out)
	case left > 0:
		s.After = max(left, time.Second)
		return false
	default:
		s.giveUp(st, fmt.Sprintf("the hook was stopped; it did not end within %s", h.Timeout.Duration))
	}
	return true
}

// left returns how long the last attempt of a hook can still be under way, if another process made it.
func (s *Hooks) left(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) time.Duration {
	if st.StartTime == nil {
		return 0
	}
	in := h.Timeout.Duration + beginning
	return run.Left(st.StartTime.Add(in), in, s.Now)
}

// giveUp fails a hook whose last attempt must be stopped.
func (s *Hooks) giveUp(st *v1alpha1.HookStatus, message string) {
	s.Stopped = append(s.Stopped, s.last(st))
	s.fail(st, Outcome{Reason: s.Stop, Message: message})
}
