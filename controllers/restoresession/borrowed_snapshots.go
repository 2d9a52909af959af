package restoresession

import (
	"context"
	"fmt"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/borrowed"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// importInterval is the interval at which an ended restore checks whether claims still need the VolumeSnapshots that it
// imported.
const importInterval = 30 * time.Second

// ensureImport makes a VolumeSnapshot of another namespace usable in the namespace of the restore. It creates a
// VolumeSnapshotContent that names the same snapshot in the storage system, and a VolumeSnapshot that is bound to that
// content. A time other than 0 says when to look again whether both are ready. Nothing that happens to the two touches
// the snapshot itself: the content's deletion policy is Retain.
func (r *Reconciler) ensureImport(
	ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume,
) (time.Duration, error) {
	from := v.Provision.Import
	if from == nil {
		return 0, nil
	}
	content, snapshot := imported(s, v)
	for _, o := range []client.Object{content, snapshot} {
		err := r.Create(ctx, o, client.FieldOwner(access.FieldManager))
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return 0, movers.AsDenial(fmt.Errorf("import VolumeSnapshot %s: %w", from.VolumeSnapshot, err))
		}
	}
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(snapshot), snapshot); err != nil {
		return 0, fmt.Errorf("get VolumeSnapshot %s: %w", snapshot.Name, err)
	}
	if snapshot.Annotations[v1alpha1.AnnotationRestoreSession] != string(s.UID) || snapshot.DeletionTimestamp != nil {
		return 0, movers.Refuse(v1alpha1.ReasonNameConflict, "VolumeSnapshot %s was not made by this restore",
			snapshot.Name)
	}
	if volumesnapshot.Ready(snapshot) {
		return 0, nil
	}
	age := run.Waited(snapshot.CreationTimestamp.Time, s.Status.StartTime, r.Clock.Now())
	if message, _ := volumesnapshot.Failure(snapshot); message != "" && age > volumesnapshot.ErrorGrace {
		return 0, movers.Refuse(v1alpha1.ReasonVolumeSnapshotNotReady,
			"VolumeSnapshot %s can't be used in namespace %s: %s",
			from.VolumeSnapshot, s.Namespace, message)
	}
	if wait := restore.WaitTimeout(s.Status.Resolved.Task); age > wait {
		return 0, movers.Refuse(v1alpha1.ReasonVolumeSnapshotNotReady,
			"VolumeSnapshot %s is not ready in namespace %s after %s: check the snapshot controller and the CSI driver",
			from.VolumeSnapshot, s.Namespace, wait)
	}
	return prepareInterval, nil
}

// imported returns the content and the VolumeSnapshot that a restore creates for as long as it needs them.
func imported(
	s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume,
) (*snapshotv1.VolumeSnapshotContent, *snapshotv1.VolumeSnapshot) {
	from, name := v.Provision.Import, v.Provision.VolumeSnapshot
	marks := metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			v1alpha1.LabelManagedBy:      v1alpha1.ManagedByCairn,
			v1alpha1.LabelRestoreSession: policy.LabelValue(s.Name),
		},
		Annotations: map[string]string{v1alpha1.AnnotationRestoreSession: string(s.UID)},
	}
	var class *string
	if from.ClassName != "" {
		class = &from.ClassName
	}
	content := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: *marks.DeepCopy(), Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{
				APIVersion: snapshotv1.SchemeGroupVersion.String(),
				Kind:       volumesnapshot.Kind, Namespace: s.Namespace, Name: name,
			},
			DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Driver: from.Driver, VolumeSnapshotClassName: class,
			Source:           snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: &from.SnapshotHandle},
			SourceVolumeMode: &v.Provision.VolumeMode,
		},
	}
	snapshot := &snapshotv1.VolumeSnapshot{ObjectMeta: marks, Spec: snapshotv1.VolumeSnapshotSpec{
		Source: snapshotv1.VolumeSnapshotSource{VolumeSnapshotContentName: &name}, VolumeSnapshotClassName: class,
	}}
	snapshot.Namespace = s.Namespace
	return content, snapshot
}

// dropImports deletes what ensureImport created, once the restore has ended. A claim that gets its volume later still
// needs it: a time other than 0 says when to look again.
func (r *Reconciler) dropImports(ctx context.Context, s *v1alpha1.RestoreSession) (time.Duration, error) {
	var after time.Duration
	if !restore.ProvisionsClaims(s.Status.Resolved) {
		return 0, nil
	}
	needed := map[string]bool{}
	var all []v1alpha1.ResolvedRestoreVolume
	for _, h := range s.Status.Resolved.Hosts {
		for i := range h.Volumes {
			v := &h.Volumes[i]
			if v.Provision.Import == nil {
				continue
			}
			all = append(all, *v)
			if s.Status.Components[v.Component].Phase != v1alpha1.RestoreSessionUnknown {
				continue
			}
			claim, err := r.claim(ctx, s.Namespace, v.ClaimName)
			if err != nil {
				return 0, err
			}
			if claim != nil && claim.DeletionTimestamp == nil && claim.Status.Phase == corev1.ClaimPending &&
				claim.Annotations[v1alpha1.AnnotationRestoreSession] == string(s.UID) {
				needed[v.Provision.VolumeSnapshot], after = true, importInterval
			}
		}
	}
	for i := range all {
		if v := &all[i]; !needed[v.Provision.VolumeSnapshot] {
			needed[v.Provision.VolumeSnapshot] = true // several claims can come from one VolumeSnapshot
			if _, err := r.borrowed().GiveBack(ctx,
				borrowed.Snapshot{
					Namespace: s.Namespace, Name: v.Provision.VolumeSnapshot, Restore: s.UID,
				}); err != nil {
				return 0, err
			}
		}
	}
	return after, nil
}

func (r *Reconciler) borrowed() borrowed.Snapshots {
	return borrowed.Snapshots{Client: r.Client, Live: r.APIReader, Owner: client.FieldOwner(r.FieldManager)}
}
