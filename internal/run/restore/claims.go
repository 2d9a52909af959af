package restore

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// CheckIdentity explains why the claim of a volume is neither the frozen claim nor one that the restore created. It
// returns nil if it is. claim is nil if it does not exist.
func CheckIdentity(
	s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume, claim *corev1.PersistentVolumeClaim,
) *v1alpha1.ResolvedError {
	switch {
	case claim == nil || v.Template == 0 && claim.UID != v.ClaimUID:
		return workload.Fail(v1alpha1.ReasonTargetNotFound, "PersistentVolumeClaim %s was deleted", v.ClaimName)
	case v.Template > 0 && claim.Annotations[v1alpha1.AnnotationRestoreSession] != string(s.UID):
		return workload.Fail(v1alpha1.ReasonNameConflict,
			"PersistentVolumeClaim %s already exists: give volumeClaimTemplates another name, delete the claim, or "+
				"name it "+
				"as the target", v.ClaimName)
	case v.Provision != nil:
		return nil
	}
	return destination.UsableClaim(claim, nil)
}

// CheckUnused explains what else uses a claim of a resolved restore, or returns nil. mover reports that a pod of a
// backup or restore uses it, which passes by itself. frozen says that the restore is frozen: it can then hold the
// claim.
func CheckUnused(
	s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore, claim *corev1.PersistentVolumeClaim,
	restores []v1alpha1.RestoreSession, pods []corev1.Pod, frozen bool,
) (refusal *v1alpha1.ResolvedError, mover bool) {
	other := RestoreInto(restores, claim.Name, s.UID)
	if frozen {
		other = ClaimBlockedBy(restores, s, claim.Name, claim.Annotations[v1alpha1.AnnotationRestoring])
	}
	if other != nil {
		return workload.Fail(v1alpha1.ReasonRestoreInProgress, "RestoreSession %s writes into PersistentVolumeClaim %s",
			other.Name, claim.Name), false
	}
	users := func(p *corev1.Pod) bool { return !destination.IsMover(p) }
	if p := destination.InUse(pods, claim.Name, users); p != nil {
		return workload.Fail(v1alpha1.ReasonVolumeInUse,
			"pod %s of a backup or restore uses PersistentVolumeClaim %s: try again when the pod has ended", p.Name,
			claim.Name), true
	}
	if p := destination.InUse(pods, claim.Name, nil); p != nil && s.Spec.Confirm == "" {
		advice := ""
		if resolved.TargetUID != "" {
			advice = confirmAdvice(inBatch(s), string(resolved.TargetUID))
		}
		return workload.Fail(v1alpha1.ReasonVolumeInUse,
			"pod %s uses PersistentVolumeClaim %s: a restore writes only into a volume that nothing uses%s", p.Name,
			claim.Name, advice), false
	}
	return nil, false
}
