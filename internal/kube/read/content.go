package read

import (
	"context"
	"fmt"
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// BoundContent reads the VolumeSnapshotContent to which a VolumeSnapshot is bound, past the cache, which holds none. It
// returns nil if there is none.
//
// Whoever can write the status of a VolumeSnapshot can name another tenant's content there. So only a content that
// names the VolumeSnapshot back counts.
func BoundContent(
	ctx context.Context, live client.Reader, s *snapshotv1.VolumeSnapshot,
) (*snapshotv1.VolumeSnapshotContent, error) {
	if s.Status == nil || ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "") == "" {
		return nil, nil
	}
	content := &snapshotv1.VolumeSnapshotContent{}
	err := Get(ctx, live, client.ObjectKey{Name: *s.Status.BoundVolumeSnapshotContentName}, content)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get VolumeSnapshotContent %s: %w", *s.Status.BoundVolumeSnapshotContentName, err)
	case !volumesnapshot.Bound(s, content):
		return nil, nil
	}
	return content, nil
}

// ImportedContents reads, past the cache, the VolumeSnapshotContents that restores made for snapshots of other
// namespaces. It ignores contents that lack any of the marks that a restore sets.
func ImportedContents(ctx context.Context, live client.Reader) ([]snapshotv1.VolumeSnapshotContent, error) {
	var list snapshotv1.VolumeSnapshotContentList
	marks := []client.ListOption{
		client.HasLabels{v1alpha1.LabelRestoreSession},
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
	}
	if err := live.List(ctx, &list, marks...); err != nil {
		return nil, fmt.Errorf("list VolumeSnapshotContents of restores: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(c snapshotv1.VolumeSnapshotContent) bool {
		return !volumesnapshot.BorrowedContent(&c, types.UID(c.Annotations[v1alpha1.AnnotationRestoreSession]))
	}), nil
}
