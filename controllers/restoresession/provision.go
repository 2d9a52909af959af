package restoresession

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// prepareInterval is the delay before the controller checks again what a Job needs first.
const prepareInterval = 2 * time.Second

// provision creates the Job that a host of a restore from VolumeSnapshots needs now: the Job that creates its claims,
// or the Job that mounts them. A time other than 0 says that something else must happen first, and when to look again.
func (r *Reconciler) provision(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	status *v1alpha1.RestoreSessionStatus,
) (time.Duration, error) {
	if err := oneshot.Newest(ctx, r.APIReader, s); err != nil {
		return 0, err
	}
	in, err := r.volumeInput(ctx, s, h, status.Components)
	if err != nil {
		return 0, err
	}
	build, ensure, mounting := moverjob.VolumeRestoreJob, access.EnsureSnapshotter,
		restore.Mounting(h, status.Components)
	in.Name = restore.JobName(s.Name, h.Name, status.Attempt)
	if mounting {
		build, ensure, in.Name = moverjob.VolumeMountJob, access.EnsureMover,
			restore.ConsumerJobName(s.Name, h.Name, status.Attempt)
		if in.Host.Volumes, err = r.waiting(ctx, s, h, status); err != nil {
			return 0, err
		}
	}
	if err := ensure(ctx, r.Client, s.Namespace); err != nil {
		return 0, movers.AsDenial(err)
	}
	job, err := build(in)
	if err != nil {
		return 0, fmt.Errorf("build Job of RestoreSession %s: %w", s.Name, err)
	}
	if !mounting { // ready is the last step, because it deletes the claims that are to be replaced.
		if after, err := r.ready(ctx, s, in, job); err != nil || after > 0 {
			return after, err
		}
	}
	return 0, movers.Create(ctx, r.Client, r.APIReader, s, job)
}

// volumeInput returns the input for the Jobs of one host. It checks again that the restore is allowed to read the
// Snapshot.
func (r *Reconciler) volumeInput(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	components map[string]v1alpha1.RestoredComponent,
) (moverjob.VolumeRestoreInput, error) {
	in := moverjob.VolumeRestoreInput{Templates: destination.ClaimTemplates(s)}
	in.RestoreJobInput = moverjob.RestoreJobInput{
		Session: s, Resolved: *s.Status.Resolved, Host: *h, ClusterUID: r.ClusterUID,
	}
	if s.Status.Resolved.Snapshot != "" {
		var err error
		if in.RestoreJobInput, err = r.jobInput(ctx, s, h, components); err != nil {
			return in, err
		}
	}
	in.Timeout = movers.Timeout(restore.DeadlineOf(s), r.Clock.Now())
	var err error
	in.Privileged, err = access.Privileged(ctx, r.Client, s.Namespace)
	return in, err
}

// waiting returns the volumes of a host whose claims exist and wait for a pod. It returns a refusal for a missing
// claim, for which the pod would wait for ever, and for a claim that somebody else created.
func (r *Reconciler) waiting(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
	status *v1alpha1.RestoreSessionStatus,
) ([]v1alpha1.ResolvedRestoreVolume, error) {
	var out []v1alpha1.ResolvedRestoreVolume
	for i := range h.Volumes {
		v := &h.Volumes[i]
		if !restore.AwaitingConsumer(status.Components[v.Component]) {
			continue
		}
		made, err := r.provisionedClaim(ctx, s, v)
		if err != nil {
			return nil, err
		}
		if made.Wrong != "" {
			return nil, movers.Refuse(made.Reason, "%s", made.Wrong)
		}
		out = append(out, *v)
	}
	return out, nil
}

// ready makes sure that the claims of a host can be created: that their VolumeSnapshots are the frozen ones and are
// usable here, and that the names of the claims are free. It deletes a claim that is to be replaced only after every
// other check has passed.
func (r *Reconciler) ready(
	ctx context.Context, s *v1alpha1.RestoreSession, in moverjob.VolumeRestoreInput, job *batchv1.Job,
) (time.Duration, error) {
	var after time.Duration
	volumes := in.Host.Volumes
	for i := range volumes {
		if err := r.sameSnapshot(ctx, s, &volumes[i]); err != nil {
			return 0, err
		}
		wait, err := r.ensureImport(ctx, s, &volumes[i])
		if err != nil {
			return 0, err
		}
		after = max(after, wait)
	}
	if after > 0 {
		return after, nil
	}
	if err := r.replaceable(ctx, s, in, job); err != nil {
		return 0, err
	}
	for i := range volumes {
		wait, err := r.freeName(ctx, s, &volumes[i])
		if err != nil {
			return 0, err
		}
		after = max(after, wait)
	}
	return after, nil
}

// sameSnapshot returns an error if a VolumeSnapshot was deleted or recreated since the restore was frozen.
func (r *Reconciler) sameSnapshot(
	ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume,
) error {
	name := v.Provision.VolumeSnapshot
	if i := v.Provision.Import; i != nil {
		name = i.VolumeSnapshot
	}
	found, err := r.volumeSnapshot(ctx, sourceNamespace(s), name)
	if err != nil {
		return err
	}
	if found.Snapshot == nil || found.Snapshot.UID != types.UID(v.ID) || found.Snapshot.DeletionTimestamp != nil {
		return movers.Refuse(v1alpha1.ReasonVolumeSnapshotNotFound, "VolumeSnapshot %s was deleted or recreated", name)
	}
	return nil
}

// freeName makes sure that only a claim of this restore has the name of a volume's claim. It deletes a claim that the
// template allows it to replace.
func (r *Reconciler) freeName(
	ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume,
) (time.Duration, error) {
	claim, err := r.claim(ctx, s.Namespace, v.ClaimName)
	switch {
	case err != nil || claim == nil || claim.Annotations[v1alpha1.AnnotationRestoreSession] == string(s.UID) &&
		claim.DeletionTimestamp == nil:
		return 0, err
	case claim.UID != v.Provision.Replaces && claim.Annotations[v1alpha1.AnnotationRestoreSession] != string(s.UID):
		return 0, movers.Refuse(v1alpha1.ReasonNameConflict,
			"somebody else created PersistentVolumeClaim %s while the restore began", v.ClaimName)
	case claim.DeletionTimestamp != nil:
		at, err := r.terminatingSince(ctx, claim)
		if err != nil {
			return 0, err
		}
		if wait := restore.WaitTimeout(s.Status.Resolved.Task); r.Clock.Since(at) > wait {
			return 0, movers.Refuse(v1alpha1.ReasonVolumeInUse,
				"PersistentVolumeClaim %s has been terminating for more than %s: something still uses it",
				v.ClaimName, wait)
		}
		return prepareInterval, nil
	}
	if err := r.unused(ctx, s, claim); err != nil {
		return 0, err
	}
	before := claim.DeepCopy()
	if claim.Annotations == nil {
		claim.Annotations = map[string]string{}
	}
	// Without this annotation the manager's admission policy does not allow it to delete a claim.
	claim.Annotations[v1alpha1.AnnotationReplace] = string(claim.UID)
	if err := r.writer().Object(ctx, before, claim); err != nil {
		return 0, movers.AsDenial(client.IgnoreNotFound(err))
	}
	err = r.Delete(ctx, claim, client.Preconditions{UID: &claim.UID})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, movers.AsDenial(fmt.Errorf("delete PersistentVolumeClaim %s: %w", claim.Name, err))
	}
	return prepareInterval, nil
}

// unused returns an error if something uses a claim that is to be replaced.
func (r *Reconciler) unused(
	ctx context.Context, s *v1alpha1.RestoreSession, claim *corev1.PersistentVolumeClaim,
) error {
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	if p := destination.InUse(pods.Items, claim.Name, nil); p != nil {
		return movers.Refuse(v1alpha1.ReasonVolumeInUse,
			"pod %s uses PersistentVolumeClaim %s, which is to be replaced: stop that pod", p.Name, claim.Name)
	}
	volume := v1alpha1.ResolvedRestoreVolume{ClaimName: claim.Name}
	if err := r.unreadByRuns(ctx, s.Namespace, []v1alpha1.ResolvedRestoreVolume{volume}); err != nil {
		return err
	}
	var restores v1alpha1.RestoreSessionList
	if err := r.APIReader.List(ctx, &restores, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list RestoreSessions: %w", err)
	}
	if other := restore.ClaimBlockedBy(restores.Items, s, claim.Name,
		claim.Annotations[v1alpha1.AnnotationRestoring]); other != nil {
		return movers.Refuse(v1alpha1.ReasonRestoreInProgress, "RestoreSession %s writes into PersistentVolumeClaim %s",
			other.Name, claim.Name)
	}
	return nil
}
