package restorebatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/workload"
)

// ResolveRestoreTargets returns the targets of a RestoreBatch with their Snapshots, in the order of the spec.
func ResolveRestoreTargets(
	b *v1alpha1.RestoreBatch, chosen map[string]*v1alpha1.Snapshot,
) []v1alpha1.ResolvedRestoreTarget {
	var out []v1alpha1.ResolvedRestoreTarget
	for i := range b.Spec.Targets {
		t := &b.Spec.Targets[i]
		s := chosen[t.Name]
		resolved := v1alpha1.ResolvedRestoreTarget{
			Name: t.Name, RestoreSession: policy.RestoreSessionName(b.Name, t.Name), Target: t.Target.DeepCopy(),
			Repository: s.Spec.Repository, Snapshot: s.Name, RestorePoint: retention.Point(s),
		}
		if t.Target == nil && !makesClaims(t.Addon) {
			resolved.Target = &v1alpha1.TypedObjectReference{
				APIGroup: s.Spec.AppRef.APIGroup, Kind: s.Spec.AppRef.Kind, Name: s.Spec.AppRef.Name,
			}
		}
		out = append(out, resolved)
	}
	return out
}

// makesClaims reports whether a restore makes the claims that it restores into.
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

// NewRestoreSession returns the RestoreSession that a frozen RestoreBatch makes for its target with index i. Only its
// timeout depends on now.
func NewRestoreSession(b *v1alpha1.RestoreBatch, i int, now time.Time) *v1alpha1.RestoreSession {
	resolved := b.Status.Resolved
	t, frozen := &b.Spec.Targets[i], &resolved.Targets[i]
	source := &v1alpha1.RestoreDataSource{
		Namespace: b.Spec.DataSource.Namespace, Repository: frozen.Repository, Snapshot: frozen.Snapshot,
		Components: t.Components, Rules: slices.Clone(t.Rules), AllowDamaged: b.Spec.DataSource.AllowDamaged,
		EncryptionSecret: EncryptionSecret(b, t).DeepCopy(),
	}
	session := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.Namespace, Name: frozen.RestoreSession,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelRestoreBatch: policy.LabelValue(b.Name),
			},
			Annotations: map[string]string{
				v1alpha1.AnnotationSpecDigest:    TargetDigest(resolved.SpecDigest, t.Name),
				v1alpha1.AnnotationFormerDigests: strings.Join(TargetDigests(SpecDigests(b), t.Name)[1:], ","),
			},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(
				b, v1alpha1.GroupVersion.WithKind(v1alpha1.RestoreBatchKind))},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target: frozen.Target.DeepCopy(), DataSource: source, Addon: t.Addon.DeepCopy(), Executor: t.Executor,
			Confirm: t.Confirm, OverwritePolicy: t.OverwritePolicy, DeleteExtraFiles: t.DeleteExtraFiles,
			Verify:         t.Verify,
			RetryConfig:    cmp.Or(t.RetryConfig, b.Spec.RetryConfig).DeepCopy(),
			RestoreTimeout: timeLeft(b, t, now),
			Hooks:          t.Hooks.DeepCopy(),
		},
	}
	if t.Confirm != "" {
		session.Annotations[v1alpha1.AnnotationConfirmationDigest] = confirmationDigest(b, i)
	}
	return session
}

// EncryptionSecret returns the Secret with the password that a target names, or nil.
func EncryptionSecret(b *v1alpha1.RestoreBatch, t *v1alpha1.RestoreBatchTarget) *v1alpha1.ObjectReference {
	return cmp.Or(t.EncryptionSecret, b.Spec.DataSource.EncryptionSecret)
}

// ComponentRefusal explains why the RestoreSession of a target would be refused because of the components and rules
// that it asks for, or returns nil.
func ComponentRefusal(t *v1alpha1.RestoreBatchTarget, s *v1alpha1.Snapshot) *v1alpha1.ResolvedError {
	components, refusal := restore.ChooseComponents(s, t.Components)
	if refusal == nil && len(t.Rules) > 0 {
		_, _, refusal = restore.ApplyRules(t.Rules, components)
	}
	return refusal
}

// WithoutData refuses a RestoreBatch because the data of a target can't be read.
func WithoutData(target string, why *v1alpha1.ResolvedError) *v1alpha1.ResolvedError {
	return workload.Fail(why.Reason, "target %s: %s. No target is restored before that: to restore the others without "+
		"it, leave it out of spec.targets", target, text.Cut(why.Message, text.MaxMessage/2))
}

// timeLeft returns the timeout of the RestoreSession of a target: its own, or what the RestoreBatch has left if that is
// less. A mover can use all of it: the RestoreBatch ends a moment later. Nil means that neither has a timeout.
func timeLeft(b *v1alpha1.RestoreBatch, t *v1alpha1.RestoreBatchTarget, now time.Time) *metav1.Duration {
	if b.Status.RestoreDeadline == nil {
		return t.RestoreTimeout.DeepCopy()
	}
	left := max(b.Status.RestoreDeadline.Sub(now).Round(time.Second), time.Second)
	if t.RestoreTimeout != nil {
		left = min(left, t.RestoreTimeout.Duration)
	}
	return &metav1.Duration{Duration: left}
}

// DatabaseMistakes refuses a batch that asks for something of a database that only a volume can have. Only the Snapshot
// can name the target, and the API server would refuse the database's RestoreSession only after other targets were
// restored.
func DatabaseMistakes(b *v1alpha1.RestoreBatch, targets []v1alpha1.ResolvedRestoreTarget) *v1alpha1.ResolvedError {
	var mistakes []policy.Mistake
	for i := range targets {
		t := &b.Spec.Targets[i]
		mistakes = append(mistakes, catalog.DatabaseRestoreMistakes(fmt.Sprintf("spec.targets[%d]", i),
			&v1alpha1.RestoreSessionSpec{
				Target: targets[i].Target, Addon: t.Addon, Verify: t.Verify, DeleteExtraFiles: t.DeleteExtraFiles,
				OverwritePolicy: t.OverwritePolicy,
			})...)
	}
	if len(mistakes) == 0 {
		return nil
	}
	return &v1alpha1.ResolvedError{
		Reason: mistakes[0].Reason, Message: (&policy.InvalidError{Mistakes: mistakes}).Error(),
	}
}
