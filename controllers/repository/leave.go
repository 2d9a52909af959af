package repository

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// leave forgets what was measured of a Repository in the place where it was before, if that is another one, or before
// another Repository or cluster had the directory: it can have removed what it did not keep. So it does after the
// repository was gone: a part of it can be missing. It writes to the Snapshots first: a manager that is killed
// meanwhile does it again.
func (r *Reconciler) leave(
	ctx context.Context, repository *v1alpha1.Repository, place string, doubt doubts, snapshots []*v1alpha1.Snapshot,
) error {
	was := repository.Status.InitializedSpec
	why := retention.WhyMoved
	switch {
	case was == "" || was == place && !doubt.taken && !doubt.gone:
		return nil
	case was == place && doubt.taken:
		why = retention.WhyTakenBack
	case was == place:
		why = retention.WhyCameBack
	}
	at := metav1.NewTime(r.Clock.Now())
	for _, before := range snapshots {
		if before.CreationTimestamp.After(at.Time) { // the clock is behind
			at = before.CreationTimestamp
		}
		s := before.DeepCopy()
		if !retention.LeaveSnapshot(s) {
			continue
		}
		if err := r.writer().Status(ctx, before, s); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	forgetDoubts(repository)
	retention.Leave(repository, at, why)
	logf.FromContext(ctx).Info("nothing counts as checked any more", "why", why)
	return nil
}
