package restorebatch

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/text"
)

// childGrace is how long after the deadline of the RestoreBatch a RestoreSession can still report its own deadline.
const childGrace = time.Minute

// runner is one step of a frozen RestoreBatch.
type runner struct {
	Input
	d *Decision
	// refusals say what the API server refuses for now, by target or workload.
	refusals []string
	// still means that some of that was refused before.
	still bool
}

// late reports whether the deadline passed at least grace ago.
func (r *runner) late(grace time.Duration) bool {
	deadline := r.d.Status.RestoreDeadline
	return deadline != nil && !r.Now.Before(deadline.Add(grace))
}

// stopReason returns why nothing more is allowed to begin, or "".
func (r *runner) stopReason() string {
	switch {
	case r.Batch.DeletionTimestamp != nil:
		return v1alpha1.ReasonCancelled
	case r.late(0):
		return v1alpha1.ReasonDeadlineExceeded
	default:
		return ""
	}
}

func (r *runner) run() {
	if !r.ending() && !r.preRestore() {
		return
	}
	if r.scaleDown() && r.targets() && r.scaleUp() {
		r.finish()
	}
	if !r.still { // it says since when the same is refused
		apimeta.RemoveStatusCondition(&r.d.Status.Conditions, v1alpha1.ConditionCreationRefused)
	}
	r.d.Event = cmp.Or(r.d.Event,
		run.ReportRefused(&r.d.Status.Conditions, strings.Join(r.refusals, "; "), r.Batch.Generation, r.Now))
}

// waits notes that something waits until a refusal has passed, which is tried for left.
func (r *runner) waits(what string, refusal *v1alpha1.ResolvedError, left time.Duration) {
	r.refusals = append(r.refusals, what+": "+r.cut(refusal.Message))
	r.d.Again = run.EarlierOf(r.d.Again, run.RefusedAgain(left))
}

// untilDeleted returns for how long something is still tried that is not given up as long as the RestoreBatch is there:
// 0 means no longer.
func (r *runner) untilDeleted() time.Duration {
	left := run.RefusedLeft(r.d.Status.Conditions, r.Batch.DeletionTimestamp, r.Now)
	if r.Batch.DeletionTimestamp == nil {
		return max(left, time.Minute)
	}
	return left
}

// disowning reports whether the end waits until the API server lets the targets be disowned, and notes that. Otherwise
// a RestoreBatch made again would be Skipped, and Ready: so only a denial is given up by itself.
func (r *runner) disowning() bool {
	why, left := r.DisownUnanswered, r.untilDeleted()
	if why == nil {
		why, left = r.DisownRefused, run.RefusedLeft(r.d.Status.Conditions, nil, r.Now)
	}
	if !run.CanPass(why) || left == 0 {
		return false
	}
	r.still = true
	r.waits("the targets still count as restored", why, left)
	return true
}

// targets advances each target as far as it can go now, and reports whether all have ended.
func (r *runner) targets() bool {
	s, active, open := &r.d.Status, 0, 0
	for i := range s.Targets {
		if child := r.Children[s.Resolved.Targets[i].RestoreSession]; child != nil && !child.Status.Phase.Terminal() {
			active++
		}
	}
	for i := range s.Targets {
		t := &s.Targets[i]
		if t.Phase.Terminal() {
			continue
		}
		if r.target(i, t, active) {
			active++
		}
		if !t.Phase.Terminal() {
			open++
		}
	}
	if open > 0 {
		now := r.Now
		if r.late(0) {
			now = now.Add(-childGrace)
		}
		r.d.After = run.EarlierOf(r.d.After, run.Until(s.RestoreDeadline, now))
	}
	return open == 0
}

// target advances a target and reports whether it begins now. active is how many other targets are being restored.
func (r *runner) target(i int, t *v1alpha1.RestoreTargetStatus, active int) (begins bool) {
	name := r.d.Status.Resolved.Targets[i].RestoreSession
	child, stop := r.Children[name], r.stopReason()
	switch {
	case child != nil:
		r.follow(t, child)
		if !t.Phase.Terminal() && (r.Batch.DeletionTimestamp != nil || r.late(childGrace)) {
			r.d.Delete = append(r.d.Delete, name)
			r.d.After = run.EarlierOf(r.d.After, 5*time.Second)
		}
	case t.RestoreSession != "":
		r.d.Verify = true
		reason, message := cmp.Or(stop, v1alpha1.ReasonCancelled),
			"RestoreSession "+name+" was deleted before it ended: the target may have been restored only in part"
		r.fail(t, reason, message)
	case stop == "" && r.heldUp(t, r.Refused[t.Name]):
		return true // it keeps its turn
	case r.Refused[t.Name] != nil:
		r.fail(t, r.Refused[t.Name].Reason, r.Refused[t.Name].Message)
	case stop == v1alpha1.ReasonCancelled:
		r.d.Verify = true
		r.fail(t, stop, "not restored: the RestoreBatch was deleted")
	case stop != "":
		r.d.Verify = true
		r.fail(t, stop, "not restored: the deadline of the restore passed before it began")
	case active < r.limit():
		r.d.Create = append(r.d.Create, i)
		return true
	}
	return false
}

// heldUp reports whether a target waits until a refusal has passed, and notes that. It does not wait for ever. Its time
// begins with its turn: when a RestoreSession has ended, or when others have waited in vain.
func (r *runner) heldUp(t *v1alpha1.RestoreTargetStatus, refusal *v1alpha1.ResolvedError) bool {
	left := run.RefusedLeft(r.d.Status.Conditions, r.lastEnd(), r.Now)
	known := t.Reason == v1alpha1.ReasonCreationRefused
	if !known {
		left = run.WaitForRefused
	}
	if !run.CanPass(refusal) || left == 0 {
		return false
	}
	r.still = r.still || known
	t.Reason, t.Message = refusal.Reason, r.cut(refusal.Message)
	r.waits(t.Name, refusal, left)
	return true
}

// lastEnd returns when the last RestoreSession has ended, nil if none has.
func (r *runner) lastEnd() *metav1.Time {
	var ends []*metav1.Time
	for _, child := range r.Children {
		ends = append(ends, child.Status.CompletionTime)
	}
	return run.LastOf(r.Now, ends...)
}

// follow copies the state of a target from its RestoreSession.
func (r *runner) follow(t *v1alpha1.RestoreTargetStatus, child *v1alpha1.RestoreSession) {
	t.RestoreSession = child.Name
	t.Phase, t.Reason = cmp.Or(child.Status.Phase, v1alpha1.RestoreSessionPending),
		cmp.Or(child.Status.Reason, v1alpha1.ReasonPending)
	if t.Phase == v1alpha1.RestoreSessionSkipped { // nobody knows what filled the target before
		t.Snapshot, t.RestorePoint = "", ""
	}
	t.Message = ""
	if c := apimeta.FindStatusCondition(child.Status.Conditions, meta.ReadyCondition); c != nil {
		t.Message = r.cut(c.Message)
	}
}

// cut shortens the message of a target, so that the messages of all targets fit into one object.
func (r *runner) cut(message string) string {
	return text.Cut(message, run.LimitPerTarget(len(r.d.Status.Targets), text.MaxMessage))
}

// limit returns how many targets can be restored at once.
func (r *runner) limit() int {
	spec := &r.Batch.Spec
	return run.MaxParallel(spec.ExecutionOrder, spec.MaxParallel, len(spec.Targets))
}

func (r *runner) fail(t *v1alpha1.RestoreTargetStatus, reason, message string) {
	t.Phase, t.Reason, t.Message = v1alpha1.RestoreSessionFailed, reason, r.cut(message)
}

// finish ends the RestoreBatch according to its targets, once its postRestore hooks have ended.
func (r *runner) finish() {
	hooks, ended := r.postRestore()
	if !ended || r.disowning() { // the end of the hooks is written before all else: they must not run again
		return
	}
	phase, reason, message := r.outcome()
	well := 0
	for _, t := range r.d.Status.Targets {
		if t.Phase == v1alpha1.RestoreSessionSucceeded {
			well++
		}
	}
	switch {
	case !wellEnded(phase) && well > 0:
		run.EndPartial(&r.d.Status.Conditions, "some targets are restored and some are not: see status.targets",
			r.Batch.Generation, r.Now)
	case wellEnded(phase) && r.left() != "":
		run.EndPartial(&r.d.Status.Conditions,
			"all data is restored, but not all workloads have their replicas again: "+r.left(), r.Batch.Generation,
			r.Now)
	case wellEnded(phase) && r.incomplete() != "":
		run.EndPartial(&r.d.Status.Conditions,
			"all data is restored, but not all owners and attributes: see the condition Partial of RestoreSession "+
				r.incomplete(), r.Batch.Generation, r.Now)
	case well == 0 && (phase == v1alpha1.RestoreSessionFailed || phase == v1alpha1.RestoreSessionSkipped):
		apimeta.RemoveStatusCondition(&r.d.Status.Conditions, v1alpha1.ConditionPartial)
	}
	if wellEnded(phase) && hooks != "" {
		phase, reason, message = v1alpha1.RestoreSessionFailed, v1alpha1.ReasonFailedToExecutePostRestoreHooks,
			hookround.Restore.HooksFailedMessage(message, hooks)
	}
	if wellEnded(phase) {
		message += r.asleep()
	}
	if phase == v1alpha1.RestoreSessionFailed {
		message = r.disown(message)
	}
	if r.anyEnded(v1alpha1.RestoreSessionSkipped) {
		r.d.Status.RestorePoint = ""
	}
	end(r.Input, r.d, phase, reason, message)
}

// anyEnded reports whether a target ended with a phase.
func (r *runner) anyEnded(phase v1alpha1.RestoreSessionPhase) bool {
	return slices.ContainsFunc(r.d.Status.Targets, func(t v1alpha1.RestoreTargetStatus) bool {
		return t.Phase == phase
	})
}

// incomplete returns the first RestoreSession that lacks something, such as owners or attributes, or "".
func (r *runner) incomplete() string {
	for i := range r.d.Status.Resolved.Targets {
		name := r.d.Status.Resolved.Targets[i].RestoreSession
		if child := r.Children[name]; child != nil && child.Lack() != nil {
			return name
		}
	}
	return ""
}
