// Package copies observes, makes and removes the temporary volumes that the movers of BackupSessions read.
//
// It keeps no state and is safe for concurrent use; each operation can be repeated. It reads past the cache, because a
// cluster need not have the kind VolumeSnapshot. It changes and deletes only objects that the BackupSession controls.
package copies

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload"
)

// Maker makes and removes the copies of BackupSessions.
type Maker struct {
	client.Client
	// Live reads past the cache.
	Live client.Reader
	// Owner is the field owner of all writes.
	Owner client.FieldOwner
}

// Observe reads the copies of a run, by name.
func (m Maker) Observe(ctx context.Context, s *v1alpha1.BackupSession, now time.Time) (map[string]backup.Copy, error) {
	out := map[string]backup.Copy{}
	if !workload.ReadsCopies(s) {
		return out, nil
	}
	selector := []client.ListOption{client.InNamespace(s.Namespace), client.MatchingLabels(labels(s))}
	var claims corev1.PersistentVolumeClaimList
	if err := m.Live.List(ctx, &claims, selector...); err != nil {
		return nil, fmt.Errorf("list temporary PersistentVolumeClaims of BackupSession %s: %w", s.Name, err)
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if !metav1.IsControlledBy(claim, s) {
			continue
		}
		trouble, err := m.trouble(ctx, claim, now)
		if err != nil {
			return nil, err
		}
		volume, err := read.VolumeOf(ctx, m.Live, claim)
		if err != nil {
			return nil, err
		}
		have := backup.Copy{Claim: claim, Trouble: trouble, Wrong: volumesnapshot.WrongVolume(claim, volume)}
		if volume != nil {
			have.Made = volume.CreationTimestamp.Time
		}
		out[claim.Name] = have
	}
	var snapshots snapshotv1.VolumeSnapshotList
	if err := m.Live.List(ctx, &snapshots, selector...); err != nil && !volumesnapshot.NoKind(err) {
		return nil, fmt.Errorf("list temporary VolumeSnapshots of BackupSession %s: %w", s.Name, err)
	}
	for i := range snapshots.Items {
		if snapshot := &snapshots.Items[i]; metav1.IsControlledBy(snapshot, s) {
			have := out[snapshot.Name]
			have.Snapshot = snapshot
			out[snapshot.Name] = have
		}
	}
	return out, nil
}

// trouble returns what the driver said last about a claim that still has no volume after volumesnapshot.ErrorGrace. It
// returns "" while the driver still works on the volume, whatever it said before.
func (m Maker) trouble(ctx context.Context, claim *corev1.PersistentVolumeClaim, now time.Time) (string, error) {
	created := claim.CreationTimestamp.Time
	if claim.Status.Phase == corev1.ClaimBound ||
		now.Sub(created) < volumesnapshot.ErrorGrace && !observe.FarAhead(created, now) {
		return "", nil
	}
	last, err := read.LastEvent(ctx, m.Live, claim, client.MatchingFields{"reason": "ProvisioningFailed"})
	if err != nil || strings.Contains(last, "DeadlineExceeded") || strings.Contains(last, "code = Aborted") {
		return "", err
	}
	return last, nil
}

// Make makes one part of a copy, or finds that it was made before. An error that no repetition can fix is one that
// movers.RefusalOf recognises.
func (m Maker) Make(
	ctx context.Context, s *v1alpha1.BackupSession, request backup.CopyRequest, have backup.Copy,
) error {
	if request.Snapshot {
		o := volumesnapshot.New(s.Namespace, request.Copy.Name, request.Copy.ClaimName,
			request.Copy.VolumeSnapshotClassName, labels(s), nil)
		return m.create(ctx, s, o, &snapshotv1.VolumeSnapshot{})
	}
	if have.Snapshot != nil {
		// Whatever removes the VolumeSnapshot later must remove its data in the storage system, too: nothing else knows
		// that data.
		if err := m.own(ctx, have.Snapshot); err != nil {
			return err
		}
	}
	return m.create(ctx, s, claim(s, request), &corev1.PersistentVolumeClaim{})
}

// claim builds a temporary claim.
func claim(s *v1alpha1.BackupSession, request backup.CopyRequest) *corev1.PersistentVolumeClaim {
	c := request.Copy
	source := &corev1.TypedLocalObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: c.ClaimName}
	if c.VolumeSnapshotClassName != "" {
		source = &corev1.TypedLocalObjectReference{
			APIGroup: new(snapshotv1.GroupName), Kind: volumesnapshot.Kind, Name: c.Name,
		}
	}
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: c.Name, Labels: labels(s)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: c.AccessModes, StorageClassName: &c.StorageClassName, DataSource: source,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: request.Size},
			},
		},
	}
}

// create makes o, which the run controls. found is an empty object of the same kind.
func (m Maker) create(ctx context.Context, s *v1alpha1.BackupSession, o, found client.Object) error {
	o.SetOwnerReferences([]metav1.OwnerReference{
		*metav1.NewControllerRef(s, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind)),
	})
	err := m.Create(ctx, o, m.Owner)
	switch {
	case err == nil:
		return nil
	case volumesnapshot.NoKind(err):
		return movers.Refuse(v1alpha1.ReasonVolumeSnapshotsNotSupported,
			"the cluster has no kind VolumeSnapshot: install the snapshot controller and its "+
				"CustomResourceDefinitions, or leave copyMethod out")
	case apierrors.IsForbidden(err):
		return movers.Refuse(v1alpha1.ReasonCopyFailed, "the API server refused the copy: %v", err)
	case !apierrors.IsAlreadyExists(err):
		return movers.AsDenial(fmt.Errorf("create copy %s: %w", client.ObjectKeyFromObject(o), err))
	}
	if err := m.Live.Get(ctx, client.ObjectKeyFromObject(o), found); err != nil {
		return fmt.Errorf("get copy %s: %w", client.ObjectKeyFromObject(o), err)
	}
	if !metav1.IsControlledBy(found, s) {
		return movers.Refuse(v1alpha1.ReasonNameConflict, "%s exists already and does not belong to BackupSession %s",
			o.GetName(), s.Name)
	}
	return nil
}

// Discard deletes all parts of a copy. A part that can't be deleted holds up no other one.
func (m Maker) Discard(ctx context.Context, c backup.Copy) error {
	var failed error
	if c.Claim != nil && c.Claim.DeletionTimestamp == nil {
		failed = sweep.Delete(ctx, m.Client, c.Claim)
	}
	if c.Snapshot == nil || c.Snapshot.DeletionTimestamp != nil {
		return failed
	}
	if err := m.own(ctx, c.Snapshot); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, sweep.Delete(ctx, m.Client, c.Snapshot))
}

// own makes sure that the storage system deletes the data of a temporary VolumeSnapshot with it, even if its class says
// Retain.
func (m Maker) own(ctx context.Context, s *snapshotv1.VolumeSnapshot) error {
	var content snapshotv1.VolumeSnapshotContent
	err := m.Live.Get(ctx, client.ObjectKey{Name: volumesnapshot.ContentName(s)}, &content)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get VolumeSnapshotContent of VolumeSnapshot %s/%s: %w", s.Namespace, s.Name, err)
	}
	if err != nil || !volumesnapshot.MadeFor(s, &content) ||
		content.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete {
		return nil
	}
	before := content.DeepCopy()
	content.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentDelete
	if err := m.Patch(ctx, &content, client.MergeFrom(before), m.Owner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set deletionPolicy of VolumeSnapshotContent %s: %w", content.Name, err)
	}
	return nil
}

// labels returns the labels of all copies of a run.
func labels(s *v1alpha1.BackupSession) map[string]string {
	return map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelCopy: policy.LabelValue(s.Name),
	}
}
