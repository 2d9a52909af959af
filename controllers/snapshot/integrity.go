package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// checkReportInterval is the interval at which the status is updated although a Snapshot is still intact.
const checkReportInterval = 24 * time.Hour

// pair is a VolumeSnapshot with its bound content; the content is nil if there is none.
type pair struct {
	snapshot *snapshotv1.VolumeSnapshot
	content  *snapshotv1.VolumeSnapshotContent
}

// usable reports whether a pair is what a component has reported, and can be restored.
func (p *pair) usable(c *v1alpha1.Component) bool {
	return volumesnapshot.Ready(p.snapshot) && p.content != nil &&
		!slices.ContainsFunc(c.VolumeSnapshotterStats, func(stats v1alpha1.VolumeSnapshotterStats) bool {
			return volumesnapshot.TakenAgain(stats, p.content) != ""
		})
}

// pairUp adds their bound contents to VolumeSnapshots, page by page: the cluster can hold many more contents.
func (r *Reconciler) pairUp(ctx context.Context, found map[types.UID]*pair) error {
	if len(found) == 0 {
		return nil
	}
	err := read.Pages(ctx, r.APIReader, func(page *snapshotv1.VolumeSnapshotContentList) error {
		for i := range page.Items {
			content := &page.Items[i]
			if p := found[content.Spec.VolumeSnapshotRef.UID]; p != nil && volumesnapshot.Bound(p.snapshot, content) {
				p.content = content.DeepCopy()
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list VolumeSnapshotContents: %w", err)
	}
	return nil
}

// check checks whether the VolumeSnapshots of successful Snapshots still exist: anybody with the right to do so can
// have deleted one. found holds the VolumeSnapshots with Cairn's labels, by UID, as the API server had them just now.
func (r *Reconciler) check(ctx context.Context, found map[types.UID]*pair) error {
	var list v1alpha1.SnapshotList
	if err := r.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Snapshots: %w", err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		if !ofVolumeSnapshots(s) || v1alpha1.HasRecordAnnotation(s.Annotations) {
			continue
		}
		checked, _, err := r.checked(ctx, s, found)
		if err != nil {
			return err
		}
		if checked == nil {
			continue // nothing to write, as for most Snapshots
		}
		if err := r.checkOne(ctx, client.ObjectKeyFromObject(s), found); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// checkOne writes to a Snapshot what was found. It reads past the cache, which can lack that the Snapshot, and so its
// VolumeSnapshots, are being deleted.
func (r *Reconciler) checkOne(ctx context.Context, key client.ObjectKey, found map[types.UID]*pair) error {
	before := &v1alpha1.Snapshot{}
	if err := r.APIReader.Get(ctx, key, before); err != nil {
		return err
	}
	s, lost, err := r.checked(ctx, before, found)
	if err != nil || s == nil {
		return err
	}
	writer := r.writer()
	writer.Kind = "" // no request names the Snapshot
	err = writer.Status(ctx, before, s)
	if err != nil {
		return err
	}
	if len(lost) > 0 && !v1alpha1.Damaged(before.Status.Integrity) {
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonVolumeSnapshotNotFound,
			"VolumeSnapshots of this Snapshot were deleted or can't be used any more: components "+
				strings.Join(lost, ", ")+
				". Make another backup")
	}
	return nil
}

// checked returns a copy of a Snapshot with the result of the check, and the components whose VolumeSnapshots are lost.
// It returns nil if there is nothing to write.
func (r *Reconciler) checked(
	ctx context.Context, s *v1alpha1.Snapshot, found map[types.UID]*pair,
) (*v1alpha1.Snapshot, []string, error) {
	if s.Status.Phase != v1alpha1.SnapshotSucceeded || !s.DeletionTimestamp.IsZero() {
		return nil, nil, nil
	}
	var lost []string
	changed := false
	out := s.DeepCopy()
	for _, name := range slices.Sorted(maps.Keys(out.Status.Components)) {
		c := out.Status.Components[name]
		there, err := r.there(ctx, s.Namespace, &c, found)
		if err != nil {
			return nil, nil, err
		}
		changed = changed || c.Integrity == nil || *c.Integrity != there
		c.Integrity = &there
		out.Status.Components[name] = c
		if !there {
			lost = append(lost, name)
		}
	}
	out.Status.Integrity = new(len(lost) == 0)
	now := metav1.NewTime(r.Clock.Now()).Rfc3339Copy()
	if at := out.Status.LastCheckTime; !changed && at != nil && now.Sub(at.Time) < checkReportInterval &&
		!v1alpha1.Ahead(at.Time, now.Time) {
		return nil, nil, nil
	}
	out.Status.LastCheckTime = &now
	return out, lost, nil
}

// there reports whether the VolumeSnapshot of a component can still be used. It looks by name for a VolumeSnapshot that
// has lost its labels, and for one that was not ready when the sweep listed it: its run can have ended since.
func (r *Reconciler) there(
	ctx context.Context, namespace string, c *v1alpha1.Component, found map[types.UID]*pair,
) (bool, error) {
	if p := found[types.UID(c.ID)]; p != nil && p.usable(c) {
		return true, nil
	}
	for _, stats := range c.VolumeSnapshotterStats {
		v := &snapshotv1.VolumeSnapshot{}
		err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: stats.VolumeSnapshotName}, v)
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("get VolumeSnapshot %s/%s: %w", namespace, stats.VolumeSnapshotName, err)
		}
		if err == nil && v.UID == types.UID(c.ID) {
			content, err := read.BoundContent(ctx, r.APIReader, v)
			return err == nil && (&pair{v, content}).usable(c), err
		}
	}
	return false, nil
}
