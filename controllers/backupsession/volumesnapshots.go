package backupsession

import (
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// planVolumeSnapshots plans which VolumeSnapshots are made of the volumes of hosts. It reads all its input past the
// cache, because the cache holds none of these kinds.
func (r *resolution) planVolumeSnapshots(
	ctx context.Context, hosts []v1alpha1.ResolvedHost, params map[string]string,
) (*v1alpha1.ResolvedError, error) {
	state, err := r.state(ctx)
	if err != nil {
		return nil, err
	}
	var classes snapshotv1.VolumeSnapshotClassList
	if err := r.APIReader.List(ctx, &classes); volumesnapshot.NoKind(err) {
		return &v1alpha1.ResolvedError{
			Reason: v1alpha1.ReasonVolumeSnapshotsNotSupported,
			Message: "the cluster has no kind VolumeSnapshotClass: install the snapshot controller of the CSI " +
				"project and its " +
				"CRDs, or back files up (driver Kopia)",
		}, nil
	} else if err != nil {
		return nil, fmt.Errorf("list VolumeSnapshotClasses: %w", err)
	}
	in := backup.VolumeSnapshotInput{
		Created: r.session.CreationTimestamp.Time, Params: params,
		Sources: map[string]volumesnapshot.Source{}, Classes: classes.Items,
	}
	for i := range hosts {
		for _, v := range hosts[i].Volumes {
			if in.Sources[v.ClaimName], err = r.volumeSource(ctx, state, v.ClaimName); err != nil {
				return nil, err
			}
		}
	}
	return backup.PlanVolumeSnapshots(hosts, in), nil
}

// volumeSource returns the volume behind a claim, as far as it exists.
func (r *resolution) volumeSource(
	ctx context.Context, state *namespaceState, name string,
) (volumesnapshot.Source, error) {
	out := volumesnapshot.Source{Claim: &corev1.PersistentVolumeClaim{}}
	out.Claim.Name = name
	for i := range state.claims {
		if state.claims[i].Name == name {
			out.Claim = &state.claims[i]
		}
	}
	var err error
	if out.Volume, err = read.VolumeOf(ctx, r.APIReader, out.Claim); err != nil {
		return out, err
	}
	if name := ptr.Deref(out.Claim.Spec.StorageClassName, ""); name != "" {
		class := &storagev1.StorageClass{}
		if err := r.APIReader.Get(ctx, client.ObjectKey{Name: name}, class); err == nil {
			out.StorageClass = class
		} else if client.IgnoreNotFound(err) != nil {
			return out, fmt.Errorf("get StorageClass %s: %w", name, err)
		}
	}
	return out, nil
}

// volumeSnapshots reads the VolumeSnapshots that the run has made, with their contents and claims.
func (r *Reconciler) volumeSnapshots(ctx context.Context, s *v1alpha1.BackupSession) (backup.MadeSnapshots, error) {
	out := backup.MadeSnapshots{}
	var list snapshotv1.VolumeSnapshotList
	marks := client.MatchingLabels{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelBackupSession: s.Name,
	}
	if err := r.APIReader.List(ctx, &list, client.InNamespace(s.Namespace), marks); volumesnapshot.NoKind(err) {
		return out, nil
	} else if err != nil {
		return nil, fmt.Errorf("list VolumeSnapshots of %s: %w", s.Name, err)
	}
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, client.InNamespace(s.Namespace)); err != nil {
		return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	for i := range list.Items {
		made := backup.ObservedVolumeSnapshot{Snapshot: &list.Items[i]}
		for j := range claims.Items {
			if claims.Items[j].Name == ptr.Deref(made.Snapshot.Spec.Source.PersistentVolumeClaimName, "") {
				made.Claim = &claims.Items[j]
			}
		}
		var err error
		if made.Content, err = read.BoundContent(ctx, r.APIReader, made.Snapshot); err != nil {
			return nil, err
		}
		out[made.Snapshot.UID] = made
	}
	return out, nil
}

// volumeSnapshotJob builds the Job that makes the VolumeSnapshots of one host.
func (r *Reconciler) volumeSnapshotJob(
	ctx context.Context, s *v1alpha1.BackupSession, snap *v1alpha1.Snapshot, m backup.Mover,
) (*batchv1.Job, error) {
	if err := access.EnsureSnapshotter(ctx, r.Client, s.Namespace); err != nil {
		return nil, movers.AsDenial(err)
	}
	privileged, err := access.Privileged(ctx, r.Client, s.Namespace)
	if err != nil {
		return nil, err
	}
	job, err := moverjob.VolumeSnapshotJob(moverjob.BackupJobInput{
		Session: s, Snapshot: snap, Target: *m.Target, Host: *m.Host, Repository: *m.Repository,
		Timeout: movers.Timeout(backup.DeadlineOf(s, m.Target.Name), r.Clock.Now()), Privileged: privileged,
		ClusterUID: r.ClusterUID,
	})
	if err != nil {
		return nil, fmt.Errorf("build Job of %s: %w", m, err)
	}
	job.Name = m.Name
	return job, nil
}
