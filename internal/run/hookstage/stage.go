// Package hookstage decides which attempts of hooks must be under way, for runs, targets, restores and batches alike.
// It is pure.
package hookstage

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/text"
)

// Stage is the time at which hooks run.
type Stage string

// The stages of hooks.
const (
	// Pre run before the work.
	Pre Stage = "pre"
	// Post run after the work.
	Post Stage = "post"
)

// Attempt is one attempt of one hook of a run or restore.
type Attempt struct {
	// Target is the target that the hook belongs to. It is empty for a hook of the run or restore.
	Target string
	Stage  Stage
	Name   string
	// Number counts attempts from 1.
	Number int32
}

// Outcome is how an attempt ended.
type Outcome struct {
	// Reason is the reason of a failure, one word. It is empty after a success.
	Reason string
	// Message is the message of a failure. It holds nothing that the hook wrote.
	Message string
	// Stderr is the end of what a command wrote to its standard error.
	Stderr string
	// Final means that no further attempt can succeed.
	Final bool
	// Lingers means that nobody knows whether what the attempt began has ended. Then the outcome is known only when the
	// timeout of the attempt has passed.
	Lingers bool
	// Pod is the pod that the attempt has chosen. It has done nothing else, and is made once the status has the pod.
	Pod *v1alpha1.HookPod
	// Since is when this process began to make attempts. It is set if this process stopped the attempt before it began.
	Since time.Time
	// Unbegun means that a post hook failed before it did anything. At is when it failed.
	Unbegun bool
	At      time.Time
	// UnderWay means that the attempt has not ended: this process makes it, or will when it is its turn.
	UnderWay bool
}

// End is an attempt that ended, and the reason of its end: Succeeded, or the reason of its failure.
type End struct {
	Attempt
	Reason string
}

// Results returns how an attempt ended, or that it is under way. It returns nil if this process does not know the
// attempt; an unknown attempt must be made.
type Results func(Attempt) *Outcome

// Run is an attempt that must be under way. Its beginning is already in the status, so a restarted manager makes it
// again.
type Run struct {
	Attempt
	// Hook is the frozen hook.
	Hook *v1alpha1.ResolvedHook
	// Targets are the targets whose pods are used where the hook names none.
	Targets []v1alpha1.TypedObjectReference
	// Pod is the pod that the status has for the hook, and the only one in which the attempt may act if it acts in one
	// pod. Former are those of earlier hooks that choose among the same pods. The attempt chooses another one only if
	// none of them fits any more.
	Pod    *v1alpha1.HookPod
	Former []v1alpha1.HookPod
	// InAll means that a hook before the work acted in all pods among which this one chooses.
	InAll bool
	// Again means that the attempt failed before it did anything, and must be made again.
	Again bool
	// Since is when the run, its target or the restore began.
	Since time.Time
	// Summary is the state of the run, its target or the restore so far.
	Summary hook.Summary
}

// retryDelay returns the delay after a failed attempt: a second, doubled each time, at most a minute.
func retryDelay(attempts int32) time.Duration {
	return min(time.Second<<min(max(attempts-1, 0), 6), time.Minute)
}

// MaxText limits each text of a hook, so that it fits into the limits of the API.
const MaxText = 1000

// Hooks is one stage of hooks during a step of the run or restore.
type Hooks struct {
	Target    string // owner of the hooks; empty: the run or restore
	Stage     Stage
	Now       time.Time
	Hooks     []v1alpha1.ResolvedHook
	Results   Results
	Functions Jobs // Jobs of hooks with a Function
	Status    []v1alpha1.HookStatus
	// Earlier are the hooks of the stage before, with their status.
	Earlier       []v1alpha1.ResolvedHook
	EarlierStatus []v1alpha1.HookStatus
	// ScaledUp returns the workloads that the owner scaled up after the work and in whose pods a hook may act, and
	// those of them in whose pods it certainly does and whose pods are not ready. Nil means that there are none.
	ScaledUp func(h *v1alpha1.ResolvedHook) (workloads, unready []string)
	Applies  func(*v1alpha1.ResolvedHook) bool
	Stop     string    // why pre hooks must end; empty: they go on
	Stopped  []Attempt // attempts that must not begin any more
	Ends     []End     // attempts that ended in this step
	attempt  *Attempt
	again    bool // the attempt has failed before it did anything
	After    time.Duration
	underWay int // index of the hook that the others wait for
	Room     int // longest text of a hook; 0: the limit of the API
}

// Over reports whether all hooks have ended and nothing of them runs any more, so that there is nothing to advance.
func (s *Hooks) Over() bool { return Ended(s.Status) && !s.Functions.lingering(s.Stage, s.Status) }

// Advance takes the stage as far as it can go now, and reports whether the stage has ended. Hooks run one after the
// other.
func (s *Hooks) Advance() bool {
	if len(s.Status) == 0 {
		for i := range s.Hooks {
			s.Status = append(s.Status, v1alpha1.HookStatus{Name: s.Hooks[i].Name, Phase: v1alpha1.HookPending})
		}
	}
	stopped := false
	for i := range s.Hooks {
		st, pre := &s.Status[i], s.Stage == Pre
		before := st.Phase
		switch {
		case s.Hooks[i].Function != nil && s.Functions.lingers(s.Stage, st, true):
			s.wait(i, 5*time.Second)
			return false
		case st.Phase.Terminal():
		case pre && (stopped || s.Stop != "") && st.Attempts == 0, !s.Applies(&s.Hooks[i]):
			st.Phase = v1alpha1.HookSkipped
		case !s.step(&s.Hooks[i], st):
			s.underWay = i
			return false
		}
		if before != st.Phase && s.Hooks[i].Function != nil && s.Functions.lingers(s.Stage, st, false) {
			s.wait(i, time.Second)
			return false
		}
		stopped = stopped || pre && st.Phase == v1alpha1.HookFailed
	}
	return true
}

// wait makes later hooks wait for the remaining Job of hook i.
func (s *Hooks) wait(i int, after time.Duration) { s.underWay, s.After = i, after }

// step advances one hook and reports whether it has ended.
func (s *Hooks) step(h *v1alpha1.ResolvedHook, st *v1alpha1.HookStatus) bool {
	if s.Stage == Pre && s.Stop != "" {
		return s.stop(h, st)
	}
	if st.Phase == v1alpha1.HookRunning {
		attempt := s.last(st)
		out := s.outcome(h, st, attempt)
		switch {
		case out == nil && h.Function != nil && st.Job == JobName(s.Functions.Kind, s.Functions.Owner, attempt):
			return false // Its Job exists.
		case out == nil && s.awaitsReady(h, st):
			return false
		case out == nil:
			s.attempt = &attempt
			return false
		case out.Pod != nil:
			s.choose(st, *out.Pod)
			return false
		case out.Reason == "":
			s.succeed(st)
			return true
		case s.waitsToBegin(h, st, out):
			return false
		case out.Final || st.Attempts > h.MaxRetry:
			s.fail(st, *out)
			return true
		default:
			s.fail(st, *out)
			st.Phase = v1alpha1.HookPending
		}
	}
	if st.CompletionTime != nil {
		delay := retryDelay(st.Attempts)
		if wait := run.Left(st.CompletionTime.Add(delay), delay, s.Now); wait > 0 {
			s.After = wait
			return false
		}
	}
	// The status is written before the attempt is made.
	st.Phase, st.StartTime, st.CompletionTime = v1alpha1.HookRunning, s.stamp(), nil
	st.Attempts++
	s.After = time.Second
	return false
}

// succeed writes that the running attempt of a hook succeeded.
func (s *Hooks) succeed(st *v1alpha1.HookStatus) {
	s.Ends = append(s.Ends, End{s.last(st), v1alpha1.ReasonSucceeded})
	st.Phase, st.CompletionTime = v1alpha1.HookSucceeded, s.stamp()
	st.Reason, st.Message, st.Stderr = "", "", ""
}

// fail writes that a hook failed. The last attempt of a hook that waits for its next one ended before.
func (s *Hooks) fail(st *v1alpha1.HookStatus, out Outcome) {
	if st.Phase == v1alpha1.HookRunning {
		s.Ends = append(s.Ends, End{s.last(st), out.Reason})
	}
	st.Phase, st.CompletionTime = v1alpha1.HookFailed, s.stamp()
	limit := cmp.Or(s.Room, MaxText)
	st.Reason, st.Message, st.Stderr = out.Reason, text.Cut(out.Message, limit), text.Cut(out.Stderr, limit)
}

// last returns the last attempt of a hook.
func (s *Hooks) last(st *v1alpha1.HookStatus) Attempt {
	return Attempt{Target: s.Target, Stage: s.Stage, Name: st.Name, Number: st.Attempts}
}

func (s *Hooks) stamp() *metav1.Time {
	t := metav1.NewTime(s.Now).Rfc3339Copy()
	return &t
}

// Failures names the failed hooks and why, in one line. It returns "" if none failed.
func Failures(status []v1alpha1.HookStatus) string {
	var out []string
	for _, st := range status {
		if st.Phase == v1alpha1.HookFailed {
			out = append(out, fmt.Sprintf("hook %s: %s", st.Name, st.Message))
		}
	}
	return strings.Join(out, "; ")
}

// Ended reports whether hooks have begun and all of them have ended.
func Ended(status []v1alpha1.HookStatus) bool {
	for _, st := range status {
		if !st.Phase.Terminal() {
			return false
		}
	}
	return len(status) > 0
}
