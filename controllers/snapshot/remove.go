package snapshot

import (
	"context"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
)

// policyLag is the time within which a snapshot controller most likely sees a new deletionPolicy of a content.
const policyLag = 3 * time.Second

// remove deletes a VolumeSnapshot of ours, and reports whether it did. It first sets the deletionPolicy of the content,
// which decides over the data: the policy of the class protects the data from everybody else. Until the snapshot
// controller has most likely seen the new policy, remove returns false: with the old policy in its cache, that
// controller would leave the content, and the data, for ever.
func (r *Reconciler) remove(
	ctx context.Context, v *snapshotv1.VolumeSnapshot, want snapshotv1.DeletionPolicy,
) (bool, error) {
	if v.DeletionTimestamp != nil {
		return true, nil
	}
	content, err := read.BoundContent(ctx, r.APIReader, v)
	if err != nil {
		return false, err
	}
	if content != nil && content.Spec.DeletionPolicy != want {
		before := content.DeepCopy()
		content.Spec.DeletionPolicy = want
		return false, client.IgnoreNotFound(r.writer().Object(ctx, before, content))
	}
	if content != nil && r.changedJustNow(content) {
		return false, nil
	}
	return true, sweep.Delete(ctx, r.Client, v)
}

// changedJustNow reports whether the manager has changed a content within policyLag. The clock of the API server can
// differ: a small difference prolongs the wait by at most policyLag, a large one ends it early.
func (r *Reconciler) changedJustNow(content *snapshotv1.VolumeSnapshotContent) bool {
	return slices.ContainsFunc(content.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == r.FieldManager && f.Time != nil && r.Clock.Now().Sub(f.Time.Time).Abs() < policyLag
	})
}

// waitForPolicy looks again when the snapshot controller has most likely seen a new deletionPolicy.
func waitForPolicy(ctx context.Context) ctrl.Result {
	logf.FromContext(ctx).V(1).Info("waits until the snapshot controller knows the new deletionPolicy")
	return ctrl.Result{RequeueAfter: policyLag}
}
