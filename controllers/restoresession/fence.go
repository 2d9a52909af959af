package restoresession

import (
	"context"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// writeMovers writes which Job is allowed to write each component. jobs are the Jobs of the restore that exist.
func (r *Reconciler) writeMovers(
	ctx context.Context, s *v1alpha1.RestoreSession, jobs map[string]run.Job, d restore.Decision,
) error {
	if d.Movers == nil {
		return nil
	}
	before := s.DeepCopy()
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[v1alpha1.AnnotationMovers] = *d.Movers
	if err := r.writer().Object(ctx, before, s); err != nil {
		return err
	}
	fenced, reasons := run.Fenced(before.Annotations[v1alpha1.AnnotationMovers], *d.Movers, jobs,
		func(component string) string { return d.Status.Components[component].Reason },
		func(component, job string) bool {
			_, known := d.Status.Components[component]
			return known && restore.MakesMover(&d.Status, s.Name, component, job)
		})
	movers.LogFenced(ctx, fenced, reasons)
	return nil
}
