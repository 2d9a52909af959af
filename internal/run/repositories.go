package run

import (
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// RepositoryReason returns the reason why a run can't use a Repository that is not ready: a problem with its password,
// or ReasonRepositoryNotReady.
func RepositoryReason(r *v1alpha1.Repository) string {
	switch reason := conditions.GetReason(r, meta.ReadyCondition); reason {
	case v1alpha1.ReasonWrongPassword, v1alpha1.ReasonPasswordChanged, v1alpha1.ReasonEncryptionSecretNotAvailable:
		return reason
	}
	return v1alpha1.ReasonRepositoryNotReady
}
