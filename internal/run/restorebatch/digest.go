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
		t := &spec.Targets[i]
		t.RestoreTimeout, t.RetryConfig, t.EncryptionSecret = nil, nil, nil
	}
	return append([]string{policy.Digest(spec)}, former...)
}

// TargetDigest returns the digest of the RestoreSession for a target of a RestoreBatch whose spec has this digest: see
// restore.Digests.
func TargetDigest(specDigest, target string) string {
	return policy.Digest([]string{specDigest, target})
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
