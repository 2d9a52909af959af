package restore

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Digest returns the digest with which the target of a restore is stamped. If a RestoreBatch made the restore,
// it is the digest of the RestoreBatch's spec, not of the chosen Snapshot: creating the RestoreBatch again with the
// same spec gives the same digest.
func Digest(s *v1alpha1.RestoreSession) string {
	owner := metav1.GetControllerOf(s)
	if digest := s.Annotations[v1alpha1.AnnotationSpecDigest]; digest != "" && owner != nil &&
		owner.Kind == v1alpha1.RestoreBatchKind && owner.APIVersion == v1alpha1.GroupVersion.String() {
		return digest
	}
	return policy.Digest(s.Spec)
}
