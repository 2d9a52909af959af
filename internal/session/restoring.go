package session

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Restoring is a restore of the list that writes into the claim now and has another UID than except. Nil: there is none.
func Restoring(restores []v1alpha1.RestoreSession, claim string, except types.UID) *v1alpha1.RestoreSession {
	for i := range restores {
		r := &restores[i]
		if r.Status.Resolved != nil && !r.Status.Phase.Terminal() && r.Status.Resolved.ClaimName == claim &&
			r.UID != except && !v1alpha1.HasRecordAnnotation(r.Annotations) {
			return r
		}
	}
	return nil
}
