package restoresession

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// writeStatus writes the status of a decision, and releases a restore that has ended. It returns when to look again.
func (r *Reconciler) writeStatus(
	ctx context.Context, s *v1alpha1.RestoreSession, d restore.Decision,
) (time.Duration, error) {
	before := s.DeepCopy()
	s.Status = d.Status
	if err := r.keeper().WriteStatus(ctx, before, s, d.Event); err != nil {
		return 0, err
	}
	if s.Status.Phase.Terminal() {
		return r.close(ctx, s)
	}
	return d.After, nil
}

// adopt gives a new restore its finalizers.
func (r *Reconciler) adopt(ctx context.Context, s *v1alpha1.RestoreSession) error {
	before := s.DeepCopy()
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerCancel)
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerRecord)
	return r.keeper().WriteMetadata(ctx, before, s)
}

// writeMovers writes which Job is allowed to write each component.
func (r *Reconciler) writeMovers(ctx context.Context, s *v1alpha1.RestoreSession, d restore.Decision) error {
	if d.Movers == nil {
		return nil
	}
	before := s.DeepCopy()
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[v1alpha1.AnnotationMovers] = *d.Movers
	return r.keeper().WriteMetadata(ctx, before, s)
}
