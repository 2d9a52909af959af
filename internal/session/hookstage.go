package session

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
)

// HookStage is the time at which hooks run.
type HookStage string

// The stages of hooks.
const (
	// PreHooks run before the work.
	PreHooks HookStage = "pre"
	// PostHooks run after the work.
	PostHooks HookStage = "post"
)

// HookAttempt is one attempt of one hook of a run or restore.
type HookAttempt struct {
	// Target is the target that the hook belongs to. It is empty for a hook of the run or restore.
	Target string
	Stage  HookStage
	Name   string
	// Number counts attempts from 1.
	Number int32
}

// HookOutcome is how an attempt ended.
type HookOutcome struct {
	// Reason is the reason of a failure, one word. It is empty after a success.
	Reason string
	// Message is the message of a failure. It holds nothing that the hook wrote.
	Message string
	// Stderr is the end of what a command wrote to its standard error.
	Stderr string
	// Final means that no further attempt can succeed.
	Final bool
}

// HookResults returns how an attempt ended. It returns nil if the attempt has not ended or is unknown; an unknown
// attempt must be made.
type HookResults func(HookAttempt) *HookOutcome

// HookRun is an attempt that must be under way. Its beginning is already in the status, so a restarted manager makes it
// again.
type HookRun struct {
	HookAttempt
	// Hook is the frozen hook.
	Hook *v1alpha1.ResolvedHook
	// Targets are the targets whose pods are used where the hook names none.
	Targets []v1alpha1.TypedObjectReference
	// Since is when the run, its target or the restore began.
	Since time.Time
	// Summary is the state of the run, its target or the restore so far.
	Summary hook.Summary
}

// retryDelay returns the delay after a failed attempt: a second, doubled each time, at most a minute.
func retryDelay(attempts int32) time.Duration {
	return min(time.Second<<min(max(attempts-1, 0), 6), time.Minute)
}

// maxHookText limits each text of a hook, so that it fits into the limits of the API.
const maxHookText = 1000

// hookStage is one stage of hooks during a step of the run or restore.
type hookStage struct {
	target    string // owner of the hooks; empty: the run or restore
	stage     HookStage
	now       time.Time
	hooks     []v1alpha1.ResolvedHook
	results   HookResults
	functions hookJobs // Jobs of hooks with a Function
	status    []v1alpha1.HookStatus
	applies   func(*v1alpha1.ResolvedHook) bool
	stop      string        // why pre hooks must end; empty: they go on
	stopped   []HookAttempt // attempts that must be stopped
	attempt   *HookAttempt
	after     time.Duration
	underWay  int // index of the hook that the others wait for
	room      int // longest text of a hook; 0: the limit of the API
}

// advance takes the stage as far as it can go now, and reports whether the stage has ended. Hooks run one after the
// other.
func (s *hookStage) advance() bool {
	if len(s.status) == 0 {
		for i := range s.hooks {
			s.status = append(s.status, v1alpha1.HookStatus{Name: s.hooks[i].Name, Phase: v1alpha1.HookPending})
		}
	}
	stopped := false
	for i := range s.hooks {
		st, pre := &s.status[i], s.stage == PreHooks
		before := st.Phase
		switch {
		case s.hooks[i].Function != nil && s.functions.lingers(s.stage, st, true):
			s.wait(i, 5*time.Second)
			return false
		case st.Phase.Terminal():
		case pre && (stopped || s.stop != "") && st.Attempts == 0, !s.applies(&s.hooks[i]):
			st.Phase = v1alpha1.HookSkipped
		case pre && s.stop != "":
			s.stopped = append(s.stopped, HookAttempt{
				Target: s.target, Stage: s.stage, Name: st.Name, Number: st.Attempts,
			})
			s.fail(st, HookOutcome{Reason: s.stop, Message: "the hook was stopped"})
			if s.hooks[i].Function != nil {
				s.functions.verify = true
				s.functions.lingers(s.stage, st, true)
			}
		case !s.step(&s.hooks[i], st):
			s.underWay = i
			return false
		}
		if before != st.Phase && s.hooks[i].Function != nil && s.functions.lingers(s.stage, st, false) {
			s.wait(i, time.Second)
			return false
		}
		stopped = stopped || pre && st.Phase == v1alpha1.HookFailed
	}
	return true
}

// wait makes later hooks wait for the remaining Job of hook i.
func (s *hookStage) wait(i int, after time.Duration) { s.underWay, s.after = i, after }

// outcome returns the outcome of the running attempt, or nil while it has none.
func (s *hookStage) outcome(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus, attempt HookAttempt) *HookOutcome {
	known := s.results(attempt)
	if h.Function == nil {
		return known
	}
	out, after := s.functions.outcome(h, s.stage, st, known, s.now)
	s.after = after
	return out
}

// step advances one hook and reports whether it has ended.
func (s *hookStage) step(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) bool {
	if st.Phase == v1alpha1.HookRunning {
		attempt := HookAttempt{Target: s.target, Stage: s.stage, Name: h.Name, Number: st.Attempts}
		out := s.outcome(h, st, attempt)
		switch {
		case out == nil && h.Function != nil && st.Job == HookJobName(s.functions.kind, s.functions.owner, attempt):
			return false // Its Job exists.
		case out == nil:
			s.attempt = &attempt
			return false
		case out.Reason == "":
			st.Phase, st.CompletionTime = v1alpha1.HookSucceeded, s.stamp()
			st.Reason, st.Message, st.Stderr = "", "", ""
			return true
		case out.Final || st.Attempts > h.MaxRetry:
			s.fail(st, *out)
			return true
		default:
			s.fail(st, *out)
			st.Phase = v1alpha1.HookPending
		}
	}
	if st.CompletionTime != nil {
		if wait := st.CompletionTime.Add(retryDelay(st.Attempts)).Sub(s.now); wait > 0 {
			s.after = wait
			return false
		}
	}
	// The status is written before the attempt is made.
	st.Phase, st.StartTime, st.CompletionTime = v1alpha1.HookRunning, s.stamp(), nil
	st.Attempts++
	s.after = time.Second
	return false
}

func (s *hookStage) fail(st *v1alpha1.HookStatus, out HookOutcome) {
	st.Phase, st.CompletionTime = v1alpha1.HookFailed, s.stamp()
	limit := cmp.Or(s.room, maxHookText)
	st.Reason, st.Message, st.Stderr = out.Reason, cut(out.Message, limit), cut(out.Stderr, limit)
}

func (s *hookStage) stamp() *metav1.Time {
	t := metav1.NewTime(s.now).Rfc3339Copy()
	return &t
}

// run returns the attempt that must be under way, if there is one.
func (s *hookStage) run(targets []v1alpha1.TypedObjectReference, since *metav1.Time, summary hook.Summary) []HookRun {
	if s.attempt == nil {
		return nil
	}
	return []HookRun{
		{
			HookAttempt: *s.attempt, Hook: &s.hooks[s.underWay], Targets: targets,
			Since: ptr.Deref(since, metav1.Time{}).Time, Summary: summary,
		},
	}
}

// hookFailures names the failed hooks and why, in one line. It returns "" if none failed.
func hookFailures(status []v1alpha1.HookStatus) string {
	var out []string
	for _, st := range status {
		if st.Phase == v1alpha1.HookFailed {
			out = append(out, fmt.Sprintf("hook %s: %s", st.Name, st.Message))
		}
	}
	return strings.Join(out, "; ")
}

// hooksEnded reports whether hooks have begun and all of them have ended.
func hooksEnded(status []v1alpha1.HookStatus) bool {
	for _, st := range status {
		if !st.Phase.Terminal() {
			return false
		}
	}
	return len(status) > 0
}
