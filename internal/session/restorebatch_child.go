package session

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// RestoreDigest is what the target of a restore is stamped with. Where a RestoreBatch made the restore, it is a digest of what
// the RestoreBatch says, not of the Snapshot that was chosen for it: one that is made anew with the same words is the same.
func RestoreDigest(s *v1alpha1.RestoreSession) string {
	owner := metav1.GetControllerOf(s)
	if digest := s.Annotations[v1alpha1.AnnotationSpecDigest]; digest != "" && owner != nil &&
		owner.Kind == v1alpha1.RestoreBatchKind && owner.APIVersion == v1alpha1.GroupVersion.String() {
		return digest
	}
	return policy.Digest(s.Spec)
}

// TargetDigest is RestoreDigest of the RestoreSession that a RestoreBatch with this digest of its spec makes for a target.
func TargetDigest(specDigest, target string) string {
	return policy.Digest([]string{specDigest, target})
}

// ResolveRestoreTargets are the targets of a RestoreBatch with their Snapshots, in the order of the spec.
func ResolveRestoreTargets(b *v1alpha1.RestoreBatch, chosen map[string]*v1alpha1.Snapshot) []v1alpha1.ResolvedRestoreTarget {
	var out []v1alpha1.ResolvedRestoreTarget
	for i := range b.Spec.Targets {
		t := &b.Spec.Targets[i]
		s := chosen[t.Name]
		resolved := v1alpha1.ResolvedRestoreTarget{
			Name: t.Name, RestoreSession: policy.RestoreSessionName(b.Name, t.Name), Target: t.Target.DeepCopy(),
			Repository: s.Spec.Repository, Snapshot: s.Name, RestorePoint: retention.Point(s),
		}
		if t.Target == nil && !makesClaims(t.Addon) {
			resolved.Target = &v1alpha1.TypedObjectReference{APIGroup: s.Spec.AppRef.APIGroup, Kind: s.Spec.AppRef.Kind, Name: s.Spec.AppRef.Name}
		}
		out = append(out, resolved)
	}
	return out
}

// makesClaims says whether a restore makes the claims that it restores into.
func makesClaims(info *v1alpha1.AddonInfo) bool {
	if info == nil {
		return false
	}
	for _, t := range info.Tasks {
		if t.TargetVolumes != nil && len(t.TargetVolumes.VolumeClaimTemplates) > 0 {
			return true
		}
	}
	return false
}

// NewRestoreSession is the RestoreSession that a frozen RestoreBatch makes for one of its targets, by the number of it. Nothing of
// it but its timeout depends on now.
func NewRestoreSession(b *v1alpha1.RestoreBatch, i int, now time.Time) *v1alpha1.RestoreSession {
	resolved := b.Status.Resolved
	t, frozen := &b.Spec.Targets[i], &resolved.Targets[i]
	source := &v1alpha1.RestoreDataSource{
		Namespace: b.Spec.DataSource.Namespace, Repository: frozen.Repository, Snapshot: frozen.Snapshot, Components: t.Components, Rules: slices.Clone(t.Rules),
		EncryptionSecret: t.EncryptionSecret.DeepCopy(),
	}
	if source.EncryptionSecret == nil {
		source.EncryptionSecret = b.Spec.DataSource.EncryptionSecret.DeepCopy()
	}
	// Of what is left a mover takes all: the RestoreBatch ends it a moment later.
	left := max(b.Status.RestoreDeadline.Sub(now).Round(time.Second), time.Second)
	if t.RestoreTimeout != nil {
		left = min(left, t.RestoreTimeout.Duration)
	}
	return &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.Namespace, Name: frozen.RestoreSession,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelRestoreBatch: policy.LabelValue(b.Name),
			},
			Annotations: map[string]string{v1alpha1.AnnotationSpecDigest: TargetDigest(resolved.SpecDigest, t.Name)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(
				b, v1alpha1.GroupVersion.WithKind(v1alpha1.RestoreBatchKind))},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target: frozen.Target.DeepCopy(), DataSource: source, Addon: t.Addon.DeepCopy(), Executor: t.Executor,
			Confirm: t.Confirm, OverwritePolicy: t.OverwritePolicy, DeleteExtraFiles: t.DeleteExtraFiles, Verify: t.Verify,
			RetryConfig: cmp.Or(t.RetryConfig, b.Spec.RetryConfig).DeepCopy(), RestoreTimeout: &metav1.Duration{Duration: left},
			Hooks: t.Hooks.DeepCopy(),
		},
	}
}
