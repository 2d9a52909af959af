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

// waitsToBegin reports whether an attempt that could not begin is made again under its number. A hook after the work is
// owed: nobody else thaws what was frozen. So the attempt tries on until its timeout has passed since its start in the
// status, which a restarted manager does not change. One in pods that the owner has just scaled up waits, too.
func (s *Hooks) waitsToBegin(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus, out *Outcome) bool {
	if s.Stage != Post || !out.Unbegun || s.hasWaited(st) || !s.owed(h) && !s.awaitsScaledUp(h, out) ||
		out.Reason == v1alpha1.ReasonNoRunningPod && s.inVain(h) {
		return false
	}
	pause, left := s.patience(st, h.Timeout.Duration)
	if left <= 0 {
		return false
	}
	s.tell(st, out.Reason, out.Message)
	if wait := min(run.Left(out.At.Add(pause), pause, s.Now), left); wait > 0 {
		s.After = max(wait, time.Second)
		return true
	}
	attempt := s.last(st)
	s.attempt, s.again = &attempt, true
	return true
}

// awaitsReady reports whether an attempt is not made yet, because the owner has just scaled up the pods of the hook and
// they are not ready: a command would fail in a pod that only runs. When half of the timeout has passed it is made all
// the same, because pods can need the hook to get ready. Only the first hook in these pods waits, with its first
// attempt: it can have made them unready.
func (s *Hooks) awaitsReady(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) bool {
	if s.ScaledUp == nil || st.Attempts != 1 || st.Pod != nil || s.Results(s.last(st)) != nil || !s.firstInPods(h) ||
		s.inVain(h) {
		return false
	}
	pause, left := s.patience(st, h.Timeout.Duration/2)
	_, unready := s.ScaledUp(h)
	if left <= 0 || len(unready) == 0 {
		return false
	}
	s.tell(st, v1alpha1.ReasonNoRunningPod, "the pods of "+strings.Join(unready, ", ")+" are not ready")
	s.After = max(min(pause, left), time.Second)
	return true
}

// patience returns how long an attempt pauses before it looks again, and how long it still waits if it waits for limit
// since its start.
func (s *Hooks) patience(st *v1alpha1.HookStatus, limit time.Duration) (pause, left time.Duration) {
	if st.StartTime == nil {
		return 0, 0
	}
	pause = min(max(s.Now.Sub(st.StartTime.Time)/12, minPause), maxPause)
	return pause, run.Left(st.StartTime.Add(limit), limit, s.Now)
}

// tell writes what a hook waits for.
func (s *Hooks) tell(st *v1alpha1.HookStatus, reason, message string) {
	st.Reason, st.Message = reason, text.Cut(run.Waiting(message), cmp.Or(s.Room, MaxText))
}

// firstInPods reports whether no hook was tried before in the stage that chooses among the same pods.
func (s *Hooks) firstInPods(h *v1alpha1.ResolvedHook) bool {
	for i := range s.Hooks {
		e := &s.Hooks[i]
		if e == h {
			break
		}
		if s.Status[i].Attempts > 0 && inPods(e) && samePods(e, h, nil) { // All hooks have the same targets.
			return false
		}
	}
	return true
}

// awaitsScaledUp reports whether a hook that could not begin waits because the owner has just scaled up the pods in
// which it acts. A server that it names can be anything: see owed.
func (s *Hooks) awaitsScaledUp(h *v1alpha1.ResolvedHook, out *Outcome) bool {
	return len(s.scaledUp(h)) > 0 && (hostOf(h) == "" || out.Reason == v1alpha1.ReasonNoRunningPod)
}

// scaledUp returns the workloads that the owner has just scaled up and in whose pods a hook may act.
func (s *Hooks) scaledUp(h *v1alpha1.ResolvedHook) []string {
	if s.ScaledUp == nil {
		return nil
	}
	workloads, _ := s.ScaledUp(h)
	return workloads
}

// inVain reports whether an earlier hook of the stage has waited at least as long for the pods of this one, and none
// ran. Then this one does not wait for them again: with many hooks that would take hours.
func (s *Hooks) inVain(h *v1alpha1.ResolvedHook) bool {
	own := s.scaledUp(h)
	for i := range s.Hooks {
		e, st := &s.Hooks[i], &s.Status[i]
		if e == h {
			break
		}
		if st.Phase != v1alpha1.HookFailed || st.Reason != v1alpha1.ReasonNoRunningPod ||
			e.Timeout.Duration < h.Timeout.Duration {
			continue
		}
		theirs := s.scaledUp(e)
		others := func(workload string) bool { return !slices.Contains(theirs, workload) }
		if !s.owed(h) && len(own) > 0 && !slices.ContainsFunc(own, others) || s.owed(e) && samePods(e, h, nil) {
			return true
		}
	}
	return false
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
