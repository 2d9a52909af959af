package restorebatch

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/workload"
)

// podsInterval is how often the pods of a workload that is being scaled down are counted.
const podsInterval = 2 * time.Second

// scaleDown advances the workloads that must have no pods during the restore. It reports whether the targets can go on:
// the pods are gone, or the targets have failed.
func (r *runner) scaleDown() bool {
	s := &r.d.Status
	open := func(t v1alpha1.RestoreTargetStatus) bool { return !t.Phase.Terminal() }
	pending := func(w v1alpha1.ScaledWorkload) bool { return w.Phase == v1alpha1.ScalePending }
	if r.stopReason() != "" || !slices.ContainsFunc(s.Targets, open) || !slices.ContainsFunc(s.ScaledDown, pending) {
		return true
	}
	if r.Workloads == nil {
		r.d.Look = true
		return false
	}
	var waiting []string
	for i := range s.ScaledDown {
		w := &s.ScaledDown[i]
		if w.Phase != v1alpha1.ScalePending {
			continue
		}
		is := r.Workloads[w.String()]
		switch problem := problemOf(w, is); {
		case problem != nil:
			r.refuseScaled(problem)
			return true
		case is.Held != nil:
			left := run.RefusedLeft(s.Conditions, s.StartTime, r.Now)
			if left == 0 {
				r.refuseScaled(is.Held)
				return true
			}
			r.still = true
			r.waits(w.String(), is.Held, left)
			waiting = append(waiting, w.String())
		case is.Replicas > 0:
			r.scale(w, 0)
			waiting = append(waiting, w.String())
		case is.Pods > 0 || !is.Settled:
			waiting = append(waiting, w.String())
		default:
			w.Phase, w.Generation = v1alpha1.ScaleDownDone, is.Generation
		}
	}
	if len(waiting) > 0 {
		run.Progress(&s.Conditions, v1alpha1.ReasonRunning, "waiting for the pods of "+strings.Join(waiting, ", ")+
			" to end", r.Batch.Generation, r.Now)
		r.d.After = run.EarlierOf(r.d.After, podsInterval)
		return false
	}
	run.Progress(&s.Conditions, v1alpha1.ReasonRunning, "the restore runs", r.Batch.Generation, r.Now)
	// The scale-down is written to the status before anything is restored. A pod that exists later was made by somebody
	// else.
	r.d.After = run.EarlierOf(r.d.After, time.Second)
	return false
}

// problemOf explains what keeps a workload from being scaled down. Nil means that nothing does.
func problemOf(w *v1alpha1.ScaledWorkload, is Workload) *v1alpha1.ResolvedError {
	switch {
	case is.UID != w.UID:
		return workload.Fail(v1alpha1.ReasonReplicasChanged, "%s was deleted or replaced", w)
	case is.Refused != "":
		return NotPermitted(is.Refused)
	case is.Managed != "":
		return ReplicasManaged(w.Kind, w.Name, is.Managed)
	case is.DeletesClaims && is.Replicas > 0:
		return DeletesClaims(w.Kind, w.Name)
	case is.Replicas != 0 && is.Replicas != w.Before:
		return workload.Fail(v1alpha1.ReasonReplicasChanged,
			"somebody scaled %s from %d to %s in the meantime", w, w.Before,
			text.Quantity(is.Replicas, "replica"))
	default:
		return nil
	}
}

// ReplicasManaged refuses to scale a workload down because somebody manages its replicas: see Workload.
func ReplicasManaged(kind, name, managed string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonReplicasManaged,
		"%s/%s is not scaled down: its replicas %s, so it can be scaled up in the middle of the restore. Scale it "+
			"down there, or suspend that and scale it down by hand, and leave it out of scaleDown",
		kind, name, managed)
}

// DeletesClaims refuses to scale a workload down because that would delete its claims.
func DeletesClaims(kind, name string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonScalingDeletesClaims,
		"%s/%s is not scaled down: its persistentVolumeClaimRetentionPolicy has whenScaled: Delete, so Kubernetes "+
			"would delete the claims of its pods, and their data. Set whenScaled: Retain before anybody scales it "+
			"down, also by hand, and restore again", kind, name)
}

// NotPermitted refuses to scale a workload because the API server does, for the reason of message.
func NotPermitted(message string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonScalingNotPermitted, "%s", message)
}

// NoWorkload refuses to scale a workload that does not exist.
func NoWorkload(asked v1alpha1.ScaleDown) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonTargetNotFound, "there is no %s %s, which spec.scaleDown names", asked.Kind,
		asked.Name)
}

// ScaledByAnother refuses to scale a workload because another RestoreBatch does, and would start it in the middle.
func ScaledByAnother(asked v1alpha1.ScaleDown, other string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonRestoreInProgress,
		"%s/%s is scaled down and up again by RestoreBatch %s, which has not ended: create this one again afterwards",
		asked.Kind, asked.Name, other)
}

// Scales reports whether an entry of scaleDown names the target of a restore. A Snapshot can name its target without
// its API group, and the pods of its sidecar are found by kind and name, so these decide.
func Scales(asked v1alpha1.ScaleDown, target v1alpha1.TypedObjectReference) bool {
	return policy.SameKindAndName(target, v1alpha1.TypedObjectReference{Kind: asked.Kind, Name: asked.Name})
}

// RestoredInPods refuses to scale a workload down whose pods restore the target.
func RestoredInPods(asked v1alpha1.ScaleDown, target string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonSidecarNotPossible,
		"%s/%s is to be scaled down, but the sidecar in its pods restores target %s: set executor Job for the "+
			"target, or "+
			"leave the workload out of scaleDown",
		asked.Kind, asked.Name, target)
}

// FilledUnseen refuses to run hooks and to scale workloads down for a target that an identical restore has filled:
// nobody can see whether it still has its data, and if it has, its RestoreSession would be refused after that. uid is
// that of the claim, or of the object that stands for the database, and marked names the object with the stamp.
func FilledUnseen(t *v1alpha1.RestoreBatchTarget, uid types.UID, marked string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonConfirmationMissing,
		"an identical restore has filled target %s before, and whether %s still has that data can't be seen, so no "+
			"hook runs and no workload is scaled down. If it has, leave that target out. If it is empty, remove the "+
			"annotation %s from %s and create the RestoreBatch again; to restore over what it holds, %s",
		t.Name, t.Target, v1alpha1.AnnotationRestored, marked, restore.AnotherBatch(t.Name, string(uid)))
}

// ClaimsExist refuses to run hooks and to scale workloads down for a target whose claims an identical restore has made:
// its RestoreSession would be refused after that.
func ClaimsExist(target string) *v1alpha1.ResolvedError {
	return workload.Fail(v1alpha1.ReasonNameConflict,
		"an identical restore has made the claims of target %s before, so no hook runs and no workload is scaled "+
			"down. If they are as you want them, leave that target out; to make others, give its "+
			"volumeClaimTemplates other names",
		target)
}

// refuseScaled fails every target because a workload can't be scaled down. Then no other one is scaled down either.
func (r *runner) refuseScaled(problem *v1alpha1.ResolvedError) {
	r.d.Scale = nil
	for i := range r.d.Status.Targets {
		if t := &r.d.Status.Targets[i]; !t.Phase.Terminal() {
			r.fail(t, problem.Reason, "not restored: "+problem.Message)
		}
	}
}

// scale asks for a number of replicas of a workload.
func (r *runner) scale(w *v1alpha1.ScaledWorkload, replicas int32) {
	if r.d.Scale == nil {
		r.d.Scale = map[string]int32{}
	}
	r.d.Scale[w.String()] = replicas
}
