package restoresession

import (
	"cmp"
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// create creates the Job of one host of a frozen restore. The state can have been frozen long ago, and another restore
// can have been frozen at the same moment: so it checks again that the claims are free. A time other than 0 says that
// the status must be written first, and when to look again.
func (r *Reconciler) create(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	status *v1alpha1.RestoreSessionStatus,
) (time.Duration, error) {
	if err := oneshot.Newest(ctx, r.APIReader, s); err != nil {
		return 0, err
	}
	job, err := r.job(ctx, s, h, status)
	if err != nil {
		return 0, err
	}
	err = r.usable(ctx, s, s.Status.Resolved, h, true)
	if movers.RefusalOf(err) != nil { // the cache can lack the Job, and the Job's own pod uses the claims
		if made, lookErr := movers.Made(ctx, r.APIReader, s, job); made || lookErr != nil {
			return 0, lookErr
		}
	}
	if err != nil {
		return 0, err
	}
	if changed, err := r.settle(ctx, s, h, status); changed || err != nil {
		return time.Second, err
	}
	return 0, movers.Create(ctx, r.Client, r.APIReader, s, job)
}

// settle freezes in the status which claims the Job of a host will write to, and forgets what an earlier attempt knew
// of others. It reports whether the status must be written before the Job is made: a pod finds its claims by name only.
func (r *Reconciler) settle(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	status *v1alpha1.RestoreSessionStatus,
) (bool, error) {
	differs := false
	for i := range h.Volumes {
		v := &h.Volumes[i]
		c := status.Components[v.Component]
		if v.ClaimName == "" || v.Template == 0 && !restore.KnowsVolume(c) { // a database or hostPath has no claim
			continue
		}
		now := restore.PresentClaim{}
		claim, volume, err := r.claimAndVolume(ctx, s.Namespace, v.ClaimName)
		if err != nil {
			return false, err
		}
		if claim != nil {
			now.UID = claim.UID
		}
		if volume != nil {
			now.Volume = volume.UID
		}
		c, changed := restore.Settle(v, c, now)
		if changed {
			differs, status.Components[v.Component] = true, c
		}
	}
	return differs, nil
}

// jobInput returns the input for the Job of one host of a frozen restore, without the mover's storage and credentials.
// It checks again that the restore is allowed to read the Snapshot.
func (r *Reconciler) jobInput(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	components map[string]v1alpha1.RestoredComponent,
) (moverjob.RestoreJobInput, error) {
	resolved := s.Status.Resolved
	namespace := sourceNamespace(s)
	if err := r.consent(ctx, s.Namespace, namespace, resolved.Repository.Name); err != nil {
		return moverjob.RestoreJobInput{}, err
	}
	var snap v1alpha1.Snapshot
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: resolved.Snapshot}, &snap)
	if apierrors.IsNotFound(err) || err == nil && snap.UID != resolved.SnapshotUID {
		return moverjob.RestoreJobInput{}, movers.Refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s was deleted",
			resolved.Snapshot)
	}
	if err != nil {
		return moverjob.RestoreJobInput{}, fmt.Errorf("get Snapshot %s: %w", resolved.Snapshot, err)
	}
	// The last check can be younger than the choice of the Snapshot.
	refusal := cmp.Or(restore.DamageRefusal(&snap, s.Spec.DataSource),
		restore.DeletionRefusal(&snap, s.Spec.DataSource, true))
	if refusal != nil {
		return moverjob.RestoreJobInput{}, movers.Refuse(refusal.Reason, "%s", refusal.Message)
	}
	resume := map[string]bool{}
	for _, v := range h.Volumes {
		resume[v.Component] = components[v.Component].TargetWritten
	}
	return moverjob.RestoreJobInput{
		Session: s, Resolved: *resolved, Host: *h, Resume: resume, AppRef: snap.Spec.AppRef, ClusterUID: r.ClusterUID,
		Egress: r.Egress.Rules(),
		Restore: task.Restore{
			Overwrite: s.Overwrites(), DeleteExtra: s.Spec.DeleteExtraFiles, Verify: s.Spec.Verify,
		},
	}, nil
}

// job builds the Job of one host of a frozen restore. It checks again that the storage's usagePolicy allows the
// restore.
func (r *Reconciler) job(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	status *v1alpha1.RestoreSessionStatus,
) (*batchv1.Job, error) {
	in, err := r.jobInput(ctx, s, h, status.Components)
	if err != nil {
		return nil, err
	}
	resolved := s.Status.Resolved
	in.Name = restore.JobName(s.Name, h.Name, status.Attempt)
	granted, err := movers.ProvideAccess(ctx, r.Client, s, r.ownerOf(s), resolved.Repository, in.Name)
	if err != nil {
		return nil, namePassword(s, err)
	}
	empty, err := r.empty(ctx, s, h, status.Components)
	if err != nil {
		return nil, err
	}
	if in.Host.Node, err = r.node(ctx, s, h, status.Attempt); err != nil {
		return nil, err
	}
	in.Restore.Again = status.Attempt > 1
	in.Restore.Group = empty && moverjob.CanTakeGroup(h.SecurityContext, resolved.Task, &granted.Storage)
	in.Storage, in.Credentials, in.Privileged = &granted.Storage, granted.Credentials, granted.Privileged
	in.Timeout = movers.Timeout(restore.DeadlineOf(s), r.Clock.Now())
	job, err := moverjob.RestoreJob(in)
	if err != nil {
		return nil, fmt.Errorf("build Job of RestoreSession %s: %w", s.Name, err)
	}
	return job, nil
}

// ownerOf says whose Repository a restore reads.
func (r *Reconciler) ownerOf(s *v1alpha1.RestoreSession) movers.Owner {
	return movers.Owner{Cluster: r.ClusterName, Namespace: sourceNamespace(s)}
}

// namePassword names the way out of a restore that has no right to a Secret: see movers.NamePassword.
func namePassword(s *v1alpha1.RestoreSession, err error) error {
	if sourceNamespace(s) == s.Namespace || s.Spec.DataSource.EncryptionSecret != nil {
		return err
	}
	return movers.NamePassword(err, s.Namespace)
}

// node returns the node of the Job of one host. Between two attempts the pods that use its claims can have moved, for
// example because the frozen node is drained. The node of a DaemonSet's host says which data it is, and stays.
func (r *Reconciler) node(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost, attempt int32,
) (string, error) {
	target := s.Spec.Target
	if attempt <= 1 || intoDatabase(s.Status.Resolved) || target != nil && target.Kind == v1alpha1.KindDaemonSet {
		return h.Node, nil
	}
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, client.InNamespace(s.Namespace)); err != nil {
		return "", fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(s.Namespace)); err != nil {
		return "", fmt.Errorf("list Pods: %w", err)
	}
	return destination.NodeAgain(h, claims.Items, pods.Items), nil
}

// empty reports whether the volumes of a host are known to be empty: a mover found them so, or they are made for the
// claims that this restore makes.
func (r *Reconciler) empty(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	components map[string]v1alpha1.RestoredComponent,
) (bool, error) {
	for i := range h.Volumes {
		v := &h.Volumes[i]
		switch {
		case !v.Mounted():
			return false, nil
		case components[v.Component].TargetEmpty:
			continue
		case v.Template == 0:
			return false, nil
		}
		claim, volume, err := r.claimAndVolume(ctx, s.Namespace, v.ClaimName)
		if err != nil || claim == nil || !restore.MadeEmpty(claim, volume) {
			return false, err
		}
		if static, err := r.getsStaticVolume(ctx, claim); static || err != nil {
			return false, err
		}
	}
	return true, nil
}

// getsStaticVolume reports whether a claim waits for a volume of a class that makes none.
func (r *Reconciler) getsStaticVolume(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	name := ptr.Deref(claim.Spec.StorageClassName, "")
	if claim.Spec.VolumeName != "" || name == "" {
		return false, nil
	}
	class, err := r.storageClass(ctx, name)
	return err == nil && (class == nil || class.Provisioner == noProvisioner), err
}

// storageClass reads a StorageClass past the cache. It returns nil if there is none.
func (r *Reconciler) storageClass(ctx context.Context, name string) (*storagev1.StorageClass, error) {
	class := &storagev1.StorageClass{}
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Name: name}, class)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get StorageClass %s: %w", name, err)
	}
	return class, nil
}

// observeClasses adds the StorageClasses that are missing for the claims of Jobs whose pod finds no node. It reads
// nothing if there is no such Job.
func (r *Reconciler) observeClasses(ctx context.Context, in *restore.Input) error {
	in.NoClass = map[string]string{}
	hosts := in.Session.Status.Resolved.Hosts
	for i := range hosts {
		job := in.Jobs[restore.JobName(in.Session.Name, hosts[i].Name, in.Session.Status.Attempt)]
		if job.Reason != v1alpha1.ReasonUnschedulable {
			continue
		}
		for j := range hosts[i].Volumes {
			claim, err := r.claim(ctx, in.Session.Namespace, hosts[i].Volumes[j].ClaimName)
			if err != nil {
				return err
			}
			if claim == nil || claim.Spec.VolumeName != "" || claim.Status.Phase != corev1.ClaimPending {
				continue
			}
			name := ptr.Deref(claim.Spec.StorageClassName, "")
			if name == "" {
				continue
			}
			class, err := r.storageClass(ctx, name)
			if err != nil {
				return err
			}
			if class == nil {
				in.NoClass[claim.Name] = name
			}
		}
	}
	return nil
}

// noProvisioner is the provisioner of a StorageClass whose volumes an administrator makes.
const noProvisioner = "kubernetes.io/no-provisioner"
