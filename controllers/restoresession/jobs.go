package restoresession

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/session/movers"
	"github.com/cairn-backup/cairn/internal/task"
)

// jobName is the name of a frozen restore's Job.
func jobName(s *v1alpha1.RestoreSession) string {
	return task.RestoreJobName(s.Name, s.Status.Resolved.Component)
}

// refuse is an error that no repetition mends.
func refuse(reason, format string, args ...any) error {
	return &access.Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// refusalOf tells such an error from one that may pass.
func refusalOf(err error) (*v1alpha1.ResolvedError, bool) {
	if reason, message, ok := access.ReasonOf(err); ok {
		return &v1alpha1.ResolvedError{Reason: reason, Message: message}, true
	}
	if errors.Is(err, task.ErrPrivilegeRequired) {
		return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonPrivilegeRequired, Message: err.Error()}, true
	}
	return nil, false
}

// job builds the Job of a frozen restore. Whether it may have the storage's credentials is asked now.
func (r *Reconciler) job(ctx context.Context, s *v1alpha1.RestoreSession) (*batchv1.Job, error) {
	resolved := s.Status.Resolved
	var storage v1alpha1.BackupStorage
	key := client.ObjectKey{Namespace: resolved.Repository.StorageRef.Namespace, Name: resolved.Repository.StorageRef.Name}
	if err := r.Get(ctx, key, &storage); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, refuse(v1alpha1.ReasonStorageNotFound, "there is no BackupStorage %s", key)
		}
		return nil, fmt.Errorf("get backup storage %s: %w", key, err)
	}
	var snap v1alpha1.Snapshot
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: resolved.Snapshot}, &snap)
	if apierrors.IsNotFound(err) || err == nil && snap.UID != resolved.SnapshotUID {
		return nil, refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s was deleted", resolved.Snapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("get snapshot %s: %w", resolved.Snapshot, err)
	}
	if err := access.EnsureMover(ctx, r.Client, s.Namespace); err != nil {
		return nil, err
	}
	credentials, err := access.EnsureCredentials(ctx, r.Client, s, s.Namespace, &storage, resolved.Repository.EncryptionSecret, jobName(s))
	if err != nil {
		return nil, err
	}
	privileged, err := access.Privileged(ctx, r.Client, s.Namespace)
	if err != nil {
		return nil, err
	}
	job, err := task.RestoreJob(task.RestoreJobInput{
		Session: s, Resolved: *resolved, AppRef: snap.Spec.AppRef, Storage: &storage, Credentials: credentials,
		Timeout:    max(s.Status.RestoreDeadline.Sub(r.Clock.Now()), time.Second),
		Privileged: privileged, ClusterUID: r.ClusterUID,
	})
	if err != nil {
		return nil, fmt.Errorf("build job of restore session %s: %w", s.Name, err)
	}
	return job, nil
}

func (r *Reconciler) create(ctx context.Context, s *v1alpha1.RestoreSession, job *batchv1.Job) error {
	_, ours, err := movers.Create(ctx, r.Client, r.APIReader, s, job)
	if err == nil && !ours {
		err = fmt.Errorf("create job %s: the name is still in use by a deleted restore's Job", job.Name)
	}
	return err
}
