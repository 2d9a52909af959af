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

// HookStage is when hooks run.
type HookStage string

// The stages.
const (
	// PreHooks run before the work.
	PreHooks HookStage = "pre"
	// PostHooks run after it.
	PostHooks HookStage = "post"
)

// HookAttempt is one attempt of one hook of a run or restore.
type HookAttempt struct {
	// Target whose hook it is. Empty: it is one of the run or restore.
	Target string
	Stage  HookStage
	Name   string
	// Number is 1 for the first.
	Number int32
}

// HookOutcome is how an attempt ended.
type HookOutcome struct {
	// Reason of a failure, one word. Empty: it succeeded.
	Reason string
	// Message of a failure. It holds nothing that the hook wrote.
	Message string
	// Stderr is the end of what a command wrote to its standard error.
	Stderr string
	// Final says that no further attempt can do better.
	Final bool
}

// HookResults says how an attempt ended; nil where it has not, or where nobody knows of it: then it must be made.
type HookResults func(HookAttempt) *HookOutcome

// HookRun is an attempt that must be under way: its beginning is in the status, so that a manager that was stopped makes it
// again.
type HookRun struct {
	HookAttempt
	// Hook as it was frozen.
	Hook *v1alpha1.ResolvedHook
	// Targets whose pods are meant where the hook names none.
	Targets []v1alpha1.TypedObjectReference
	// Since is when the run, its target or the restore began.
	Since time.Time
	// Summary of the run, its target or the restore so far.
	Summary hook.Summary
}

// retryDelay is how long after a failed attempt the next one is made: a second, doubled each time, up to a minute.
func retryDelay(attempts int32) time.Duration {
	return min(time.Second<<min(max(attempts-1, 0), 6), time.Minute)
}

// maxHookText is how long a text of a hook may be, within what the API allows.
const maxHookText = 1000

// hookStage are the hooks of one stage while they are looked at.
type hookStage struct {
	target    string // whose hooks they are; empty: those of the run or restore
	stage     HookStage
	now       time.Time
	hooks     []v1alpha1.ResolvedHook
	results   HookResults
	functions hookJobs // the Jobs of hooks with a Function
	status    []v1alpha1.HookStatus
	applies   func(*v1alpha1.ResolvedHook) bool
	stop      string        // why hooks that run before the work must end; empty: they need not
	stopped   []HookAttempt // attempts that must not go on
	attempt   *HookAttempt
	after     time.Duration
	underWay  int // the hook that the others wait for
	room      int // how long a text of a hook may be; 0: as the API says
}

// advance takes the stage as far as it can be taken now, and says whether it has ended. Hooks run one after the other.
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
			s.stopped = append(s.stopped, HookAttempt{Target: s.target, Stage: s.stage, Name: st.Name, Number: st.Attempts})
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

// wait says that the hooks behind one wait for what is left of it.
func (s *hookStage) wait(i int, after time.Duration) { s.underWay, s.after = i, after }

// outcome of the attempt that is under way; nil where it has none yet.
func (s *hookStage) outcome(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus, attempt HookAttempt) *HookOutcome {
	known := s.results(attempt)
	if h.Function == nil {
		return known
	}
	out, after := s.functions.outcome(h, s.stage, st, known, s.now)
	s.after = after
	return out
}

// step takes one hook further and says whether it has ended.
func (s *hookStage) step(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) bool {
	if st.Phase == v1alpha1.HookRunning {
		attempt := HookAttempt{Target: s.target, Stage: s.stage, Name: h.Name, Number: st.Attempts}
		out := s.outcome(h, st, attempt)
		switch {
		case out == nil && h.Function != nil && st.Job == HookJobName(s.functions.kind, s.functions.owner, attempt):
			return false // Its Job is there.
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
	// This is written before the attempt is made.
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

// run is the attempt that must be under way, if there is one.
func (s *hookStage) run(targets []v1alpha1.TypedObjectReference, since *metav1.Time, summary hook.Summary) []HookRun {
	if s.attempt == nil {
		return nil
	}
	return []HookRun{{HookAttempt: *s.attempt, Hook: &s.hooks[s.underWay], Targets: targets, Since: ptr.Deref(since, metav1.Time{}).Time, Summary: summary}}
}

// hookFailures says in one line what failed among hooks. Empty: nothing.
func hookFailures(status []v1alpha1.HookStatus) string {
	var out []string
	for _, st := range status {
		if st.Phase == v1alpha1.HookFailed {
			out = append(out, fmt.Sprintf("hook %s: %s", st.Name, st.Message))
		}
	}
	return strings.Join(out, "; ")
}

// hooksEnded says whether hooks have begun and all of them have ended.
func hooksEnded(status []v1alpha1.HookStatus) bool {
	for _, st := range status {
		if !st.Phase.Terminal() {
			return false
		}
	}
	return len(status) > 0
}
