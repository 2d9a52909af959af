package restoresession

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// create creates the Job of one host of a frozen restore. The state can have been frozen long ago, and another restore
// can have been frozen at the same moment: so it checks again that the claims are free.
func (r *Reconciler) create(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost, attempt int32,
) error {
	if err := oneshot.Newest(ctx, r.APIReader, s); err != nil {
		return err
	}
	job, err := r.job(ctx, s, h, attempt)
	if err != nil {
		return err
	}
	err = r.usable(ctx, s, s.Status.Resolved, h, true)
	if movers.RefusalOf(err) != nil { // the cache can lack the Job, and the Job's own pod uses the claims
		if made, lookErr := movers.Made(ctx, r.APIReader, s, job); made || lookErr != nil {
			return lookErr
		}
	}
	if err != nil {
		return err
	}
	return movers.Create(ctx, r.Client, r.APIReader, s, job)
}

// jobInput returns the input for the Job of one host of a frozen restore, without the mover's storage and credentials.
// It checks again that the restore is allowed to read the Snapshot.
func (r *Reconciler) jobInput(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost,
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
	if refusal := restore.DamageRefusal(&snap, s.Spec.DataSource); refusal != nil {
		return moverjob.RestoreJobInput{}, movers.Refuse(refusal.Reason, "%s", refusal.Message)
	}
	resume := map[string]bool{}
	for _, v := range h.Volumes {
		resume[v.Component] = s.Status.Components[v.Component].TargetWritten
	}
	return moverjob.RestoreJobInput{
		Session: s, Resolved: *resolved, Host: *h, Resume: resume, AppRef: snap.Spec.AppRef, ClusterUID: r.ClusterUID,
		Restore: task.Restore{
			Overwrite: restore.Overwrites(s), DeleteExtra: s.Spec.DeleteExtraFiles, Verify: s.Spec.Verify,
		},
	}, nil
}

// job builds the Job of one host of a frozen restore. It checks again that the storage's usagePolicy allows the
// restore.
func (r *Reconciler) job(
	ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost, attempt int32,
) (*batchv1.Job, error) {
	in, err := r.jobInput(ctx, s, h)
	if err != nil {
		return nil, err
	}
	resolved := s.Status.Resolved
	in.Name = restore.JobName(s.Name, h.Name, attempt)
	granted, err := movers.ProvideAccess(ctx, r.Client, s, resolved.Repository, in.Name)
	if err != nil {
		return nil, err
	}
	empty := true
	for _, v := range h.Volumes {
		empty = empty && v.Mounted() && (v.Template > 0 || s.Status.Components[v.Component].TargetEmpty)
	}
	in.Restore.Group = empty && moverjob.CanTakeGroup(h.SecurityContext, resolved.Task, &granted.Storage)
	in.Storage, in.Credentials, in.Privileged = &granted.Storage, granted.Credentials, granted.Privileged
	in.Timeout = movers.Timeout(restore.DeadlineOf(s), r.Clock.Now())
	job, err := moverjob.RestoreJob(in)
	if err != nil {
		return nil, fmt.Errorf("build Job of RestoreSession %s: %w", s.Name, err)
	}
	return job, nil
}
