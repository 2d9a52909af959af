package restore

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// formerTimeout is the restoreTimeout that the CRDs of earlier versions gave to a restore without one.
const formerTimeout = 6 * time.Hour

// Digests returns the digests with which an identical restore can have stamped the target. The first one is that of
// this version, and the restore itself stamps with it; earlier versions wrote the others. If a RestoreBatch made the
// restore, they come from the RestoreBatch's spec, not from the chosen Snapshot: creating the RestoreBatch again with
// the same spec gives the same digests.
func Digests(s *v1alpha1.RestoreSession) []string {
	owner := metav1.GetControllerOf(s)
	if digest := s.Annotations[v1alpha1.AnnotationSpecDigest]; digest != "" && owner != nil &&
		owner.Kind == v1alpha1.RestoreBatchKind && owner.APIVersion == v1alpha1.GroupVersion.String() {
		return append([]string{digest}, strings.Split(s.Annotations[v1alpha1.AnnotationFormerDigests], ",")...)
	}
	spec := s.Spec.DeepCopy()
	former := FormerDigests(spec, &spec.RestoreTimeout)
	spec.RestoreTimeout, spec.RetryConfig = nil, nil
	if spec.DataSource != nil {
		spec.DataSource.EncryptionSecret = nil
	}
	return append([]string{policy.Digest(spec)}, former...)
}

// FormerDigests returns the digests that earlier versions stamped with: those of the whole spec, in which a timeout
// that nobody set was 6 hours at first, and then missing. timeout points into spec.
func FormerDigests(spec any, timeout **metav1.Duration) []string {
	digests := []string{policy.Digest(spec)}
	if *timeout == nil {
		*timeout = &metav1.Duration{Duration: formerTimeout}
		digests = append(digests, policy.Digest(spec))
		*timeout = nil
	}
	return digests
}
