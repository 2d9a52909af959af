package restorebatch

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// SpecDigests returns the digests of the spec of a RestoreBatch: that of this version first, then those of earlier
// versions. The one of this version leaves out what does not change the data that is written.
func SpecDigests(b *v1alpha1.RestoreBatch) []string {
	spec := b.Spec.DeepCopy()
	former := restore.FormerDigests(spec, &spec.RestoreTimeout)
	spec.RestoreTimeout, spec.RetryConfig, spec.ExecutionOrder, spec.MaxParallel = nil, nil, "", nil
	spec.DataSource.EncryptionSecret = nil
	for i := range spec.Targets {
		dropWhatWritesNothing(&spec.Targets[i])
	}
	return append([]string{policy.Digest(spec)}, former...)
}

// dropWhatWritesNothing clears what does not change the data that is written into a target.
func dropWhatWritesNothing(t *v1alpha1.RestoreBatchTarget) {
	t.RestoreTimeout, t.RetryConfig, t.EncryptionSecret = nil, nil, nil
}

// Confirmation returns the confirmation of the target with index i, which can have these stamps. What it allows does
// not depend on other targets, as a stamp does: whoever confirms one of them anew has said nothing of this one.
func Confirmation(b *v1alpha1.RestoreBatch, i int, stamps []string) restore.Confirmation {
	return restore.Confirmation{
		Value: b.Spec.Targets[i].Confirm, InBatch: b.Spec.Targets[i].Name, Digest: confirmationDigest(b, i),
		Stamps: stamps,
	}
}

// confirmationDigest returns the digest of what the confirmation of the target with index i allows.
func confirmationDigest(b *v1alpha1.RestoreBatch, i int) string {
	source, t := b.Spec.DataSource, b.Spec.Targets[i]
	source.EncryptionSecret = nil
	dropWhatWritesNothing(&t)
	return policy.Digest([]any{source, t})
}

// TargetDigest returns the digest of the RestoreSession for a target of a RestoreBatch whose spec has this digest: see
// restore.Digests.
func TargetDigest(specDigest, target string) string {
	return policy.Digest([]string{specDigest, target})
}

// IdenticalTo returns which RestoreSessions are identical with that of a target of the RestoreBatch: those of a
// RestoreBatch of its name, too, because their names come from it. digests are TargetDigests.
func IdenticalTo(b *v1alpha1.RestoreBatch, target string, digests []string) restore.Identical {
	return restore.Identical{Name: policy.RestoreSessionName(b.Name, target), Digests: digests}
}

// TargetDigests returns the digests with which an identical RestoreBatch can have stamped a target: that of this
// version first. specDigests are those of its spec, which cost more than all targets.
func TargetDigests(specDigests []string, target string) []string {
	out := make([]string, len(specDigests))
	for i := range out {
		out[i] = TargetDigest(specDigests[i], target)
	}
	return out
}
