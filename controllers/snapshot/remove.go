package snapshot

import (
	"cmp"
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// remove deletes a VolumeSnapshot of ours. It first sets the deletionPolicy of the content, which decides over the
// data: the policy of the class protects the data from everybody else. If that write is refused, the VolumeSnapshot
// stays.
func (r *Reconciler) remove(ctx context.Context, v *snapshotv1.VolumeSnapshot, want snapshotv1.DeletionPolicy) error {
	if v.DeletionTimestamp != nil {
		return nil
	}
	content, err := read.BoundContent(ctx, r.APIReader, v)
	if err != nil {
		return err
	}
	if content != nil && content.Spec.DeletionPolicy != want {
		before := content.DeepCopy()
		content.Spec.DeletionPolicy = want
		if err := r.writer().Object(ctx, before, content); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return sweep.Delete(ctx, r.Client, v)
}

// contents are the VolumeSnapshotContents of removed VolumeSnapshots that still exist although their data should go.
type contents struct {
	// going are contents that the CSI driver still has to remove.
	going []snapshotv1.VolumeSnapshotContent
	// kept are the names of contents that nobody removes.
	kept []string
}

// contentsLeft reads, past the cache, the contents that outlive the Snapshot's VolumeSnapshots although their data
// should go. It leaves out VolumeSnapshots that no component has reported, and those that still exist.
func (r *Reconciler) contentsLeft(
	ctx context.Context, s *v1alpha1.Snapshot, found volumeSnapshots,
) (contents, error) {
	var out contents
	for _, c := range components(s) {
		for _, stats := range c.VolumeSnapshotterStats {
			v := &snapshotv1.VolumeSnapshot{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: s.Namespace, Name: stats.VolumeSnapshotName, UID: types.UID(c.ID),
				},
				Status: &snapshotv1.VolumeSnapshotStatus{
					BoundVolumeSnapshotContentName: &stats.VolumeSnapshotContentName,
				},
			}
			if policyOf(s, v) == snapshotv1.VolumeSnapshotContentRetain || found.exists[v.UID] {
				continue
			}
			content := &snapshotv1.VolumeSnapshotContent{}
			err := read.Get(ctx, r.APIReader, client.ObjectKey{Name: volumesnapshot.ContentName(v)}, content)
			switch {
			case client.IgnoreNotFound(err) != nil:
				return contents{}, fmt.Errorf("get VolumeSnapshotContent of VolumeSnapshot %s: %w", v.Name, err)
			case err != nil, !volumesnapshot.MadeFor(v, content):
			case volumesnapshot.Goes(content):
				out.going = append(out.going, *content)
			default:
				out.kept = append(out.kept, content.Name)
			}
		}
	}
	return out, nil
}

// removeContents deletes contents that the snapshot controller has left, and returns when to look again. A snapshot
// controller with an old deletionPolicy in its cache lets a VolumeSnapshot go and keeps its content, and so the data.
func (r *Reconciler) removeContents(
	ctx context.Context, s *v1alpha1.Snapshot, going []snapshotv1.VolumeSnapshotContent,
) (ctrl.Result, error) {
	for i := range going {
		if going[i].DeletionTimestamp != nil {
			continue
		}
		// Whoever deleted the VolumeSnapshots, their data was still there.
		if err := r.begin(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
		if err := sweep.Delete(ctx, r.Client, &going[i]); err != nil {
			return ctrl.Result{}, r.notDeleted(ctx, s, v1alpha1.ReasonContentNotDeleted, err)
		}
	}
	oldest, age := longestTerminating(going, r.Clock.Now())
	result := ctrl.Result{RequeueAfter: interval(age)}
	if age < cmp.Or(r.StuckAfter, stuckAfter) {
		logf.FromContext(ctx).V(1).Info("waits for VolumeSnapshotContents to go", "volumeSnapshotContents", len(going))
		return result, nil
	}
	w := keepsTerminating("VolumeSnapshotContent "+going[oldest].Name, &going[oldest])
	w.reason = v1alpha1.ReasonContentNotDeleted
	return result, r.markWaiting(ctx, s, w)
}
