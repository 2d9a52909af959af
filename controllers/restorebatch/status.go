package restorebatch

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// writeStatus writes the status of a decision, and releases a RestoreBatch that has ended. It returns when to look
// again.
func (r *Reconciler) writeStatus(
	ctx context.Context, b *v1alpha1.RestoreBatch, d restorebatch.Decision,
) (time.Duration, error) {
	before := b.DeepCopy()
	b.Status = d.Status
	if err := r.keeper().WriteStatus(ctx, before, b, d.Event); err != nil {
		return 0, err
	}
	if b.Status.Phase.Terminal() {
		return 0, r.keeper().Release(ctx, b)
	}
	return d.After, nil
}

// adopt gives a new RestoreBatch its finalizers.
func (r *Reconciler) adopt(ctx context.Context, b *v1alpha1.RestoreBatch) error {
	before := b.DeepCopy()
	controllerutil.AddFinalizer(b, v1alpha1.FinalizerCancel)
	controllerutil.AddFinalizer(b, v1alpha1.FinalizerRecord)
	return r.keeper().WriteMetadata(ctx, before, b)
}
