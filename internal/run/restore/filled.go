package restore

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// FilledBy reports whether a restore with the digest filled a claim that still has that volume.
func FilledBy(claim *corev1.PersistentVolumeClaim, digest string) bool {
	return claim.DeletionTimestamp == nil && claim.Status.Phase != corev1.ClaimLost &&
		claim.Annotations[v1alpha1.AnnotationRestored] == digest
}

// AnyFilledBy reports whether a restore with the digest filled one of the claims.
func AnyFilledBy(claims []corev1.PersistentVolumeClaim, digest string) bool {
	for i := range claims {
		if FilledBy(&claims[i], digest) {
			return true
		}
	}
	return false
}

// AllFilledBy reports whether a restore with the digest filled each claim of these names. Without names it returns
// false.
func AllFilledBy(claims []corev1.PersistentVolumeClaim, digest string, names []string) bool {
	filled := map[string]bool{}
	for i := range claims {
		filled[claims[i].Name] = FilledBy(&claims[i], digest)
	}
	for _, name := range names {
		if !filled[name] {
			return false
		}
	}
	return len(names) > 0
}

// DatabaseFilledBy reports whether a restore with the digest filled the database whose Lease has these annotations.
func DatabaseFilledBy(lease map[string]string, digest string) bool {
	return lease[v1alpha1.AnnotationRestored] == digest
}

// ClaimsOf returns the names of the claims of a restore's hosts.
func ClaimsOf(hosts []v1alpha1.ResolvedRestoreHost) []string {
	var names []string
	for _, h := range hosts {
		for _, v := range h.Volumes {
			names = append(names, v.ClaimName)
		}
	}
	return names
}

// UnboundMessage explains why a claim that an identical earlier restore made still has no volume.
func UnboundMessage(claim string) string {
	return fmt.Sprintf("an identical earlier restore made PersistentVolumeClaim %s; it gets its volume when a pod "+
		"mounts it, because the parameter bind is false", claim)
}
