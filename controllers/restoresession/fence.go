package restoresession

import (
	"context"

	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
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
	if err := r.writer().Object(ctx, before, s); err != nil {
		return err
	}
	fenced := run.Fenced(before.Annotations[v1alpha1.AnnotationMovers], *d.Movers, d.Status.Components)
	for component, job := range fenced {
		logf.FromContext(ctx).Info("fenced mover", "job", klog.KRef(s.Namespace, job), "component", component,
			"reason", d.Status.Components[component].Reason)
	}
	return nil
}
