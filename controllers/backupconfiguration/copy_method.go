package backupconfiguration

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// checkCopies checks, for each session that reads copies of the volumes, whether its task can do so.
func (r *Reconciler) checkCopies(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings,
) error {
	for i := range configuration.Spec.Sessions {
		session := &configuration.Spec.Sessions[i]
		if !session.CopyMethod.Copies() || session.Addon.Name == "" {
			continue
		}
		addon := &v1alpha1.Addon{}
		if err := r.Get(ctx, types.NamespacedName{Name: session.Addon.Name}, addon); apierrors.IsNotFound(err) {
			continue // checkAddons reports the missing Addon.
		} else if err != nil {
			return fmt.Errorf("get Addon %s: %w", session.Addon.Name, err)
		}
		for _, m := range check.CopyMistakes(fmt.Sprintf("spec.sessions[%d]", i), *configuration.Spec.Target,
			session, addon) {
			findings.invalid(m.Reason, m.Field+": "+m.Message)
		}
	}
	return nil
}
