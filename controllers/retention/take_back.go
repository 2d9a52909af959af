package retention

import (
	"context"

	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// takeBack takes back the removals that did not begin: the manager was killed after it had marked a Snapshot and before
// it deleted the object, and the policy keeps the Snapshot now. Otherwise the data would go with whoever deletes the
// object, and the record would say that retention did it.
func (r *Reconciler) takeBack(ctx context.Context, s *state) error {
	for name, snapshot := range s.snapshots {
		if !retention.Marked(snapshot) {
			continue
		}
		keeps, err := s.keeps(name)
		if err != nil {
			return err
		}
		if !keeps {
			continue
		}
		if err := r.unmark(ctx, snapshot); err != nil {
			return err
		}
		logf.FromContext(ctx).Info("takes back the removal of a Snapshot that the policy keeps", "snapshot",
			klog.KObj(snapshot))
	}
	return nil
}

// keeps reports whether the present decision keeps a Snapshot.
func (s *state) keeps(name string) (bool, error) {
	if s.ref == nil {
		return true, nil
	}
	if err := s.judge(); err != nil {
		return false, err
	}
	for _, v := range s.verdicts {
		if v.Name == name {
			return !v.Goes(), nil
		}
	}
	return false, nil
}

// unmark undoes the writes of remove in the opposite order, so that the condition tells of the mark until it is gone.
// The data of a Snapshot that somebody else had given the deletionPolicy WipeOut before stays, too.
func (r *Reconciler) unmark(ctx context.Context, snapshot *v1alpha1.Snapshot) error {
	snapshot = snapshot.DeepCopy()
	before := snapshot.DeepCopy()
	snapshot.Spec.DeletionPolicy = v1alpha1.DeleteObjects
	if err := r.writer().Object(ctx, before, snapshot); err != nil {
		return err
	}
	before = snapshot.DeepCopy()
	conditions.Delete(snapshot, v1alpha1.ConditionRetained)
	return r.writer().Status(ctx, before, snapshot)
}
