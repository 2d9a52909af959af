package restoresession

import (
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// loan is a VolumeSnapshot and a VolumeSnapshotContent of one name that a restore made for its own time: see ensureImport.
type loan struct {
	// namespace of the restore, and of the VolumeSnapshot.
	namespace, name string
	// restore is the UID of the RestoreSession that made it.
	restore types.UID
}

// loans gives back what restores have borrowed.
type loans struct {
	client.Client
	// live reads past the cache, which has none of it.
	live  client.Reader
	owner client.FieldOwner
}

func (r *Reconciler) loans() loans {
	return loans{Client: r.Client, live: r.APIReader, owner: client.FieldOwner(r.FieldManager)}
}

// of finds all loans of the cluster.
func (l loans) of(ctx context.Context) (map[loan]bool, error) {
	out := map[loan]bool{}
	contents, err := lifecycle.LentContents(ctx, l.live)
	if gone(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for i := range contents {
		c := &contents[i]
		out[loan{c.Spec.VolumeSnapshotRef.Namespace, c.Name, types.UID(c.Annotations[v1alpha1.AnnotationRestoreSession])}] = true
	}
	marks := []client.ListOption{client.HasLabels{v1alpha1.LabelRestoreSession}, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}}
	var snapshots snapshotv1.VolumeSnapshotList
	if err := l.live.List(ctx, &snapshots, marks...); gone(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list the VolumeSnapshots that restores borrowed: %w", err)
	}
	for i := range snapshots.Items {
		s := &snapshots.Items[i]
		if restore := types.UID(s.Annotations[v1alpha1.AnnotationRestoreSession]); volumesnapshot.Lent(s, restore) {
			out[loan{s.Namespace, s.Name, restore}] = true
		}
	}
	return out, nil
}

// gone says that there is no such object, or that the cluster has no kind VolumeSnapshot, or not any more.
func gone(err error) bool { return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) }

// needed says whether a claim is still to get its volume of a loan.
func (l loans) needed(ctx context.Context, of loan) (bool, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := l.live.List(ctx, &claims, client.InNamespace(of.namespace)); err != nil {
		return false, fmt.Errorf("list persistent volume claims: %w", err)
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.DeletionTimestamp == nil && claim.Status.Phase == corev1.ClaimPending && volumesnapshot.SourceOf(claim) == of.name {
			return true, nil
		}
	}
	return false, nil
}

// giveBack removes a loan, and says whether there was something to remove. The snapshot in the storage system stays: whatever somebody
// made of the content meanwhile, it is Retain again before anything goes. What is not the restore's is left alone.
func (l loans) giveBack(ctx context.Context, of loan) (bool, error) {
	content, snapshot := &snapshotv1.VolumeSnapshotContent{}, &snapshotv1.VolumeSnapshot{}
	hasContent, err := l.read(ctx, client.ObjectKey{Name: of.name}, content)
	if err != nil {
		return false, err
	}
	hasSnapshot, err := l.read(ctx, client.ObjectKey{Namespace: of.namespace, Name: of.name}, snapshot)
	if err != nil {
		return false, err
	}
	if hasContent && (!volumesnapshot.LentContent(content, of.restore) || content.Spec.VolumeSnapshotRef.Namespace != of.namespace) {
		return false, nil
	}
	if hasContent && content.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain {
		before := content.DeepCopy()
		content.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentRetain
		if err := l.Patch(ctx, content, client.MergeFrom(before), l.owner); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("keep the snapshot of VolumeSnapshotContent %s: %w", content.Name, err)
		}
	}
	removed := false
	if hasSnapshot && volumesnapshot.Lent(snapshot, of.restore) && snapshot.DeletionTimestamp == nil {
		if err := l.remove(ctx, snapshot); err != nil {
			return false, err
		}
		removed = true
	}
	if hasContent && content.DeletionTimestamp == nil {
		if err := l.remove(ctx, content); err != nil {
			return false, err
		}
		removed = true
	}
	return removed, nil
}

// read reads an object past the cache, and says whether there is one.
func (l loans) read(ctx context.Context, key client.ObjectKey, o client.Object) (bool, error) {
	err := lifecycle.Get(ctx, l.live, key, o)
	if gone(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("get what was borrowed as %s: %w", key.Name, err)
	}
	return true, nil
}

func (l loans) remove(ctx context.Context, o client.Object) error {
	if err := l.Delete(ctx, o, client.Preconditions{UID: new(o.GetUID())}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete what was borrowed as %s: %w", o.GetName(), err)
	}
	return nil
}
