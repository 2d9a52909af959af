package lifecycle

import (
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// Content reads the VolumeSnapshotContent that a VolumeSnapshot is bound to, past the cache, which has none; nil where it is bound to
// none. Who may write the status of a VolumeSnapshot may name the content of another tenant there: only one that names it back counts.
func Content(ctx context.Context, live client.Reader, s *snapshotv1.VolumeSnapshot) (*snapshotv1.VolumeSnapshotContent, error) {
	if s.Status == nil || ptr.Deref(s.Status.BoundVolumeSnapshotContentName, "") == "" {
		return nil, nil
	}
	content := &snapshotv1.VolumeSnapshotContent{}
	err := Get(ctx, live, client.ObjectKey{Name: *s.Status.BoundVolumeSnapshotContentName}, content)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get volume snapshot content %s: %w", *s.Status.BoundVolumeSnapshotContentName, err)
	case !volumesnapshot.Bound(s, content):
		return nil, nil
	}
	return content, nil
}
