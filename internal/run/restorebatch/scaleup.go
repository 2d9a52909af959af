package restorebatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
)

// scaleUp scales the workloads up again once all targets have ended, and reports whether that is done. If the targets
// were restored only in part, the workloads stay down, because their pods would start on that data.
func (r *runner) scaleUp() bool {
	s := &r.d.Status
	if !slices.ContainsFunc(s.ScaledDown, func(w v1alpha1.ScaledWorkload) bool { return !scaled(w.Phase) }) {
		return true
	}
	if r.Workloads == nil {
		r.d.Look = true
		return false
	}
	// A workload that was disturbed does not keep the others down.
	phase, _, _ := r.ended("")
	well, ended, held := wellEnded(phase), true, true
	for i := range s.ScaledDown {
		w := &s.ScaledDown[i]
		if scaled(w.Phase) {
			continue
		}
		is := r.Workloads[w.String()]
		r.bringBack(w, is, well, r.touched())
		if !scaled(w.Phase) {
			ended, held = false, held && is.Held != nil
		}
	}
	if !held { // what a webhook holds is tried at its own pace
		r.d.After = run.EarlierOf(r.d.After, time.Second)
	}
	return ended
}

// touched reports whether the data of a target can have changed. A RestoreSession that is gone can have changed it, and
// so can a hook that ran before.
func (r *runner) touched() bool {
	hooks := ptr.Deref(r.d.Status.Hooks, v1alpha1.HookStatuses{})
	if hookround.Ran(hooks.PreHooks) {
		return true
	}
	return slices.ContainsFunc(r.d.Status.Targets, func(t v1alpha1.RestoreTargetStatus) bool {
		child := r.Children[t.RestoreSession]
		return t.RestoreSession != "" && (child == nil || restore.MayHaveWritten(child))
	})
}

// scaled reports whether nothing more is done about a workload.
func scaled(p v1alpha1.ScalePhase) bool {
	return p == v1alpha1.ScaleUpDone || p == v1alpha1.ScaleLeft || p == v1alpha1.ScaleDisturbed
}

// bringBack decides what becomes of a workload at the end of a restore that ended well, or not, and touched data, or
// not. Data that is neither restored nor touched is as it was, and so is what runs on it.
func (r *runner) bringBack(w *v1alpha1.ScaledWorkload, is Workload, well, touched bool) {
	was, want := w.Phase, w.Replicas
	if !well {
		want = w.Before
	}
	w.Phase = v1alpha1.ScaleLeft
	switch {
	case is.UID != w.UID:
		w.Message = workloadGone
	case is.Replicas > 0 && was == v1alpha1.ScalePending:
		w.Message = notScaledDown
	case is.Replicas > 0 && was == v1alpha1.ScaleDownDone && touched:
		w.Phase = v1alpha1.ScaleDisturbed
		w.Message = "it was scaled to " + text.Quantity(is.Replicas, "replica") +
			" during the restore: its pods may have written into the restored data"
	case was == v1alpha1.ScaleDownDone && touched && is.Generation != w.Generation:
		w.Phase = v1alpha1.ScaleDisturbed
		w.Message = "it was changed during the restore: if it had pods, they may have written into the restored data" +
			r.advice(w, w.Replicas)
	case is.Replicas > 0:
		w.Phase = v1alpha1.ScaleUpDone
	case w.Replicas == 0:
		w.Message = noReplicasBefore
	case !well && touched:
		w.Message = "it stays without replicas because the restore did not end well, and its pods could start on " +
			"data that is incomplete or does not fit together" +
			r.advice(w, w.Replicas)
	case want == 0:
		w.Message = "nothing was restored, and it had no replicas before"
	case is.Refused != "":
		advice := r.advice(w, want)
		w.Message = text.Cut(is.Refused, maxScaleMessage-len(advice)) + advice
	case is.Held != nil && r.untilDeleted() == 0:
		advice := r.advice(w, want)
		w.Message = text.Cut(is.Held.Message, maxScaleMessage-len(advice)) + advice
	case is.Held != nil:
		w.Phase, r.still = v1alpha1.ScalingUp, true
		r.waits(w.String()+" is not scaled up again", is.Held, r.untilDeleted())
	case was != v1alpha1.ScalingUp:
		w.Phase = v1alpha1.ScalingUp
	default:
		r.scale(w, want)
		w.Phase = v1alpha1.ScaleUpDone
	}
}

// advice ends a message with the command that scales a workload up. It is empty if nobody knows the replicas.
func (r *runner) advice(w *v1alpha1.ScaledWorkload, replicas int32) string {
	if replicas == 0 {
		return ""
	}
	return fmt.Sprintf(": scale it up with \"kubectl scale -n %s %s/%s --replicas=%d\"", r.Batch.Namespace,
		strings.ToLower(w.Kind), w.Name, replicas)
}

// left names the workloads that should have been scaled up but were left as they are.
func (r *runner) left() string {
	return r.inPhase(v1alpha1.ScaleLeft)
}

// down says which workloads a failed restore leaves without replicas, or disturbed, why, and how to scale them up. It
// leaves out the disturbed ones if reason has named them. What it returns ends a message, and leaves room for that.
func (r *runner) down(reason string) string {
	var out []string
	for i := range r.d.Status.ScaledDown {
		w := &r.d.Status.ScaledDown[i]
		left := w.Phase == v1alpha1.ScaleLeft && w.Replicas > 0 && w.Message != notScaledDown &&
			w.Message != workloadGone
		if left || w.Phase == v1alpha1.ScaleDisturbed && reason != v1alpha1.ReasonReplicasChanged {
			out = append(out, w.String()+": "+w.Message)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return text.Cut("; "+strings.Join(out, "; "), text.MaxMessage/2)
}

// asleep says which workloads have no replicas after a restore because they had none before. A user who has scaled
// them down by hand for the restore can have forgotten that.
func (r *runner) asleep() string {
	var out []string
	for i := range r.d.Status.ScaledDown {
		if w := &r.d.Status.ScaledDown[i]; w.Phase == v1alpha1.ScaleLeft && w.Message == noReplicasBefore {
			out = append(out, w.String())
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "; these had no replicas before and still have none: " + strings.Join(out, ", ") +
		". If they are to run, scale them up"
}

// maxScaleMessage is the longest message of a workload that the API allows.
const maxScaleMessage = 1024

// Messages of workloads.
const (
	workloadGone  = "it was deleted or replaced"
	notScaledDown = "it was not scaled down"
	// noReplicasBefore is about a workload for which nobody knows another number of replicas than 0.
	noReplicasBefore = "it had no replicas before"
)

// disturbed names the workloads that had pods while they should have had none. It returns "" if there are none.
func (r *runner) disturbed() string {
	return r.inPhase(v1alpha1.ScaleDisturbed)
}

// inPhase names the workloads in a phase, and why. Workloads that had no replicas before don't count as left.
func (r *runner) inPhase(p v1alpha1.ScalePhase) string {
	var out []string
	for i := range r.d.Status.ScaledDown {
		if w := &r.d.Status.ScaledDown[i]; w.Phase == p && (w.Replicas > 0 || p != v1alpha1.ScaleLeft) {
			out = append(out, w.String()+": "+w.Message)
		}
	}
	return strings.Join(out, "; ")
}
