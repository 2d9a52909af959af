// Package borrowed keeps account of the VolumeSnapshots that a restore borrows from another namespace, and gives back
// what was left behind. Its functions keep no state and are safe for concurrent use.
package borrowed

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
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// Snapshot is a VolumeSnapshot and a VolumeSnapshotContent of one name that a restore borrowed from another namespace.
type Snapshot struct {
	// Namespace is the namespace of the restore and of the VolumeSnapshot.
	Namespace, Name string
	// Restore is the UID of the RestoreSession that borrowed it.
	Restore types.UID
}

// Snapshots finds and gives back what restores have borrowed.
type Snapshots struct {
	client.Client
	// Live reads past the cache, which holds none of these kinds.
	Live  client.Reader
	Owner client.FieldOwner
}

// all finds all borrowed VolumeSnapshots of the cluster.
func (b Snapshots) all(ctx context.Context) (map[Snapshot]bool, error) {
	out := map[Snapshot]bool{}
	contents, err := read.ImportedContents(ctx, b.Live)
	if NotFoundOrNoKind(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for i := range contents {
		c := &contents[i]
		out[Snapshot{
			c.Spec.VolumeSnapshotRef.Namespace, c.Name,
			types.UID(c.Annotations[v1alpha1.AnnotationRestoreSession]),
		}] = true
	}
	marks := []client.ListOption{
		client.HasLabels{v1alpha1.LabelRestoreSession},
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
	}
	var snapshots snapshotv1.VolumeSnapshotList
	if err := b.Live.List(ctx, &snapshots, marks...); NotFoundOrNoKind(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list borrowed VolumeSnapshots: %w", err)
	}
	for i := range snapshots.Items {
		s := &snapshots.Items[i]
		if restore := types.UID(s.Annotations[v1alpha1.AnnotationRestoreSession]); volumesnapshot.Borrowed(s, restore) {
			out[Snapshot{s.Namespace, s.Name, restore}] = true
		}
	}
	return out, nil
}

// NotFoundOrNoKind reports whether the object does not exist, or the cluster has no kind VolumeSnapshot.
func NotFoundOrNoKind(err error) bool { return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) }

// needed reports whether a claim still waits for its volume from a borrowed VolumeSnapshot.
func (b Snapshots) needed(ctx context.Context, of Snapshot) (bool, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := b.Live.List(ctx, &claims, client.InNamespace(of.Namespace)); err != nil {
		return false, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.DeletionTimestamp == nil && claim.Status.Phase == corev1.ClaimPending &&
			volumesnapshot.SourceOf(claim) == of.Name {
			return true, nil
		}
	}
	return false, nil
}

// GiveBack deletes a borrowed VolumeSnapshot and its content, and reports whether there was anything to delete. The
// snapshot in the storage system stays: even if somebody changed the content's deletion policy, GiveBack sets it to
// Retain before it deletes anything. It leaves alone what does not belong to the restore.
func (b Snapshots) GiveBack(ctx context.Context, of Snapshot) (bool, error) {
	content, snapshot := &snapshotv1.VolumeSnapshotContent{}, &snapshotv1.VolumeSnapshot{}
	hasContent, err := b.read(ctx, client.ObjectKey{Name: of.Name}, content)
	if err != nil {
		return false, err
	}
	hasSnapshot, err := b.read(ctx, client.ObjectKey{Namespace: of.Namespace, Name: of.Name}, snapshot)
	if err != nil {
		return false, err
	}
	if hasContent && (!volumesnapshot.BorrowedContent(content, of.Restore) ||
		content.Spec.VolumeSnapshotRef.Namespace != of.Namespace) {
		return false, nil
	}
	if hasContent && content.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain {
		before := content.DeepCopy()
		content.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentRetain
		if err := b.Patch(ctx, content, client.MergeFrom(before), b.Owner); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("set deletionPolicy Retain of VolumeSnapshotContent %s: %w", content.Name, err)
		}
	}
	removed := false
	if hasSnapshot && volumesnapshot.Borrowed(snapshot, of.Restore) && snapshot.DeletionTimestamp == nil {
		if err := sweep.Delete(ctx, b.Client, snapshot); err != nil {
			return false, err
		}
		removed = true
	}
	if hasContent && content.DeletionTimestamp == nil {
		if err := sweep.Delete(ctx, b.Client, content); err != nil {
			return false, err
		}
		removed = true
	}
	return removed, nil
}

// read reads an object past the cache, and reports whether it exists.
func (b Snapshots) read(ctx context.Context, key client.ObjectKey, o client.Object) (bool, error) {
	err := read.Get(ctx, b.Live, key, o)
	if NotFoundOrNoKind(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("get borrowed VolumeSnapshot %s: %w", key.Name, err)
	}
	return true, nil
}
