package scaling

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
)

// Workload is the state of a Deployment or StatefulSet that decides how it is scaled.
type Workload struct {
	UID        types.UID
	Generation int64
	// Replicas is the number of pods that the workload is to have.
	Replicas int32
	// Selection finds the pods.
	Selection workload.Selection
	// PodLabels are what the pods have.
	PodLabels map[string]string
	// Settled reports that the workload's controller has seen the newest spec, and that no more pods exist than the
	// spec wants.
	Settled bool
	// DeletesClaims reports that the pods that a scale-down ends take their claims with them.
	DeletesClaims bool
}

// WorkloadOf returns the state of a Deployment or StatefulSet. An object of another kind has one replica and is never
// settled.
func WorkloadOf(o metav1.Object) Workload {
	w := Workload{UID: o.GetUID(), Generation: o.GetGeneration(), Replicas: 1, Selection: workload.SelectionOf(o)}
	settled := func(observed int64, pods int32) bool { return observed >= w.Generation && pods <= w.Replicas }
	switch o := o.(type) {
	case *appsv1.Deployment:
		w.Replicas, w.PodLabels = ptr.Deref(o.Spec.Replicas, 1), o.Spec.Template.Labels
		w.Settled = settled(o.Status.ObservedGeneration, o.Status.Replicas)
	case *appsv1.StatefulSet:
		w.Replicas, w.PodLabels = ptr.Deref(o.Spec.Replicas, 1), o.Spec.Template.Labels
		w.Settled = settled(o.Status.ObservedGeneration, o.Status.Replicas)
		policy := o.Spec.PersistentVolumeClaimRetentionPolicy
		w.DeletesClaims = len(o.Spec.VolumeClaimTemplates) > 0 && policy != nil &&
			policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	return w
}

// Running counts the pods that have not ended and keep a scale-down waiting. pods are those that the workload's
// selector matches. One that belongs to something else, such as a CronJob, counts only if it uses a claim: the claim
// can be one that is about to be restored.
func (w *Workload) Running(pods []corev1.Pod) int {
	n := 0
	for i := range pods {
		p := &pods[i]
		if !observe.PodEnded(p) && (w.Selection.Has(p) || len(workload.ClaimsOfPod(p)) > 0) {
			n++
		}
	}
	return n
}

// Ready returns the names of the workload's pods that are ready and do not terminate. pods are those that its selector
// matches.
func (w *Workload) Ready(pods []corev1.Pod) []string {
	var ready []string
	for i := range pods {
		p := &pods[i]
		if p.DeletionTimestamp == nil && !observe.PodEnded(p) && observe.PodReady(p) && w.Selection.Has(p) {
			ready = append(ready, p.Name)
		}
	}
	return ready
}

// Freeze returns how a restore scales a workload: down to no replicas, and up again to the replicas that are asked for,
// else to the replicas of now. If it has none, it gets what the RestoreBatch that left it down would have given it: see
// Inherited.
func Freeze(asked v1alpha1.ScaleDown, w Workload, leftDown *v1alpha1.ScaledWorkload) v1alpha1.ScaledWorkload {
	replicas := w.Replicas
	if leftDown != nil {
		replicas = leftDown.Replicas
	}
	return v1alpha1.ScaledWorkload{
		Kind: asked.Kind, Name: asked.Name, UID: w.UID, Before: w.Replicas,
		Replicas: ptr.Deref(asked.Replicas, replicas), Generation: w.Generation, Phase: v1alpha1.ScalePending,
	}
}

// MayBeTaken reports whether somebody else can have set the replicas of a frozen workload since the restore began. If
// the replicas are 0, Cairn set them. If nobody has changed the workload, the start of the restore has checked it.
func MayBeTaken(frozen *v1alpha1.ScaledWorkload, w Workload) bool {
	return w.Replicas != 0 && w.Generation != frozen.Generation
}

// LeftDown returns the state of a workload in the ended RestoreBatch that left it without pods, if nobody has changed
// the workload since; otherwise nil. Of several RestoreBatches, the newest counts that knows how many replicas it is to
// have.
func LeftDown(batches []v1alpha1.RestoreBatch, w Workload) *v1alpha1.ScaledWorkload {
	found, _ := leftBy(batches, w)
	return found
}

// Inherited returns the state of LeftDown if the RestoreBatch b restores all that the other one did not restore;
// otherwise nil: if b scaled the workload up, its pods would start on data that is incomplete still.
func Inherited(batches []v1alpha1.RestoreBatch, w Workload, b *v1alpha1.RestoreBatch) *v1alpha1.ScaledWorkload {
	found, by := leftBy(batches, w)
	if found == nil || by.Spec.DataSource.BackupBatch != b.Spec.DataSource.BackupBatch {
		return nil
	}
	for i := range by.Status.Targets {
		t := &by.Status.Targets[i]
		restored := t.Phase == v1alpha1.RestoreSessionSucceeded || t.Phase == v1alpha1.RestoreSessionSkipped
		if !restored && !slices.ContainsFunc(b.Spec.Targets, func(own v1alpha1.RestoreBatchTarget) bool {
			return own.Name == t.Name
		}) {
			return nil
		}
	}
	return found
}

// leftBy returns the state of LeftDown, and the RestoreBatch that has it.
func leftBy(
	batches []v1alpha1.RestoreBatch, w Workload,
) (found *v1alpha1.ScaledWorkload, by *v1alpha1.RestoreBatch) {
	if w.Replicas != 0 {
		return nil, nil
	}
	for i := range batches {
		b := &batches[i]
		if !b.Status.Phase.Terminal() {
			continue
		}
		for j := range b.Status.ScaledDown {
			s := &b.Status.ScaledDown[j]
			if s.UID != w.UID || s.Generation != w.Generation {
				continue
			}
			if known := s.Replicas > 0; found == nil || known && (found.Replicas == 0 ||
				by.CreationTimestamp.Before(&b.CreationTimestamp)) {
				found, by = s, b
			}
		}
	}
	return found, by
}

// HeldBy returns a RestoreBatch other than b that scales a workload down and up again, or is about to: one under way
// that has the UID of the workload, or an older one that asks for the workload and has not begun. So of several that
// were created at once the oldest goes first. It returns nil if there is none.
func HeldBy(
	batches []v1alpha1.RestoreBatch, asked v1alpha1.ScaleDown, uid types.UID, b *v1alpha1.RestoreBatch,
) *v1alpha1.RestoreBatch {
	for i := range batches {
		other := &batches[i]
		if other.UID == b.UID || other.Status.Phase.Terminal() || v1alpha1.HasRecordAnnotation(other.Annotations) {
			continue
		}
		if other.Status.Resolved == nil && older(other, b) && slices.ContainsFunc(other.Spec.ScaleDown,
			func(s v1alpha1.ScaleDown) bool { return s.Kind == asked.Kind && s.Name == asked.Name }) {
			return other
		}
		for _, s := range other.Status.ScaledDown {
			open := s.Phase == v1alpha1.ScalePending || s.Phase == v1alpha1.ScaleDownDone ||
				s.Phase == v1alpha1.ScalingUp
			if s.UID == uid && open {
				return other
			}
		}
	}
	return nil
}

// older reports whether a was made before b. Within the same second the smaller UID counts as older.
func older(a, b *v1alpha1.RestoreBatch) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}
