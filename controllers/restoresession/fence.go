package restoresession

import (
	"context"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

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
	return r.writer().Object(ctx, before, s)
}
