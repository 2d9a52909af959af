package hookstage

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/text"
)

// The pause between two tries of an attempt that cannot begin. It grows with the time since the start of the attempt.
const (
	minPause = 5 * time.Second
	maxPause = time.Minute
)

// waits reports whether an attempt that could not begin is made again under its number. A hook after the work is owed:
// nobody else thaws what was frozen. So the attempt tries on until its timeout has passed since its start in the
// status, which a restarted manager does not change.
func (s *Hooks) waits(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus, out *Outcome) bool {
	if s.Stage != Post || !out.Unbegun || st.StartTime == nil || s.hasWaited(st) || !s.owed(h) {
		return false
	}
	timeout := h.Timeout.Duration
	left := run.Left(st.StartTime.Add(timeout), timeout, s.Now)
	if left <= 0 {
		return false
	}
	st.Reason, st.Message = out.Reason, text.Cut(run.Waiting(out.Message), cmp.Or(s.Room, MaxText))
	pause := min(max(s.Now.Sub(st.StartTime.Time)/12, minPause), maxPause)
	if wait := min(run.Left(out.At.Add(pause), pause, s.Now), left); wait > 0 {
		s.After = max(wait, time.Second)
		return true
	}
	attempt := s.last(st)
	s.attempt, s.again = &attempt, true
	return true
}

// hasWaited reports whether the attempt before the last one waited in vain for the whole of its timeout. Then the next
// ones do not wait either: with many of them that would take hours. An attempt that acted, for example in a pod that
// was killed meanwhile, or of which nobody knows, has not.
func (s *Hooks) hasWaited(st *v1alpha1.HookStatus) bool {
	before := s.last(st)
	before.Number--
	out := s.Results(before)
	return out != nil && out.Unbegun
}

// owed reports whether a hook after the work must wait until it can begin. If no hook before the work acted, the
// application is not frozen. A server that a hook names can be anything, such as one for messages that is down. It is
// worth a wait if it also got a request before the work.
func (s *Hooks) owed(h *v1alpha1.ResolvedHook) bool {
	for i := range min(len(s.Earlier), len(s.EarlierStatus)) {
		if mayHaveActed(&s.EarlierStatus[i]) && mayThaw(h, &s.Earlier[i]) {
			return true
		}
	}
	return false
}

// mayThaw reports whether a hook after the work can thaw what one before it froze.
func mayThaw(h, earlier *v1alpha1.ResolvedHook) bool {
	host := hostOf(h)
	return host == "" || hostOf(earlier) == host
}

// MayHaveFrozen reports whether a hook before the work can have frozen what one after it thaws, as far as their status
// tells. A hook that only opens a connection freezes nothing. hooks can be nil.
func MayHaveFrozen(hooks *v1alpha1.ResolvedHooks, pre []v1alpha1.HookStatus) bool {
	if hooks == nil {
		return false
	}
	for i := range min(len(hooks.Pre), len(pre)) {
		h := &hooks.Pre[i]
		connects := h.Action != nil && h.Action.TCPSocket != nil
		if mayHaveActed(&pre[i]) && !connects && slices.ContainsFunc(hooks.Post,
			func(post v1alpha1.ResolvedHook) bool { return mayThaw(&post, h) }) {
			return true
		}
	}
	return false
}

// mayHaveActed reports whether a hook can have begun to act, as far as its status tells. RequestFailed and
// CommandFailed do not tell whether a connection came about: they count, even where the attempt knew that nothing began
// (Unbegun).
func mayHaveActed(st *v1alpha1.HookStatus) bool {
	return st.Attempts > 1 || st.Attempts == 1 && !(st.Phase == v1alpha1.HookFailed && slices.Contains([]string{
		v1alpha1.ReasonNoRunningPod, v1alpha1.ReasonTargetNotFound, v1alpha1.ReasonHookNotPermitted,
		v1alpha1.ReasonPodNotCreated, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonInvalidSecret,
	}, st.Reason))
}

// hostOf returns the server that a hook names, in the words of its template, or "".
func hostOf(h *v1alpha1.ResolvedHook) string {
	switch a := h.Action; {
	case a == nil:
		return ""
	case a.HTTPGet != nil:
		return a.HTTPGet.Host
	case a.HTTPPost != nil:
		return a.HTTPPost.Host
	case a.TCPSocket != nil:
		return a.TCPSocket.Host
	default:
		return ""
	}
}

// Waiting returns the message of a hook that waits until it can begin, which names it, or "" if none does.
func (s *Hooks) Waiting() string {
	st := &s.Status[s.underWay]
	if st.Phase != v1alpha1.HookRunning || !run.IsWaiting(st.Message) {
		return ""
	}
	return run.Waiting("hook " + st.Name + " could not begin: " + strings.TrimPrefix(st.Message, run.Waiting("")))
}
