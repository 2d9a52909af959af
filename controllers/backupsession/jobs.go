package backupsession

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/movers"
	"github.com/cairn-backup/cairn/internal/task"
)

// writeJobs deletes and makes the Jobs that were decided upon. The Jobs of in are brought up to date. It says true when
// one was refused: in then says why, and the next decision takes that into account.
func (r *Reconciler) writeJobs(ctx context.Context, s *v1alpha1.BackupSession, in *session.Input, d session.Decision) (bool, error) {
	for _, name := range d.Delete {
		if err := movers.Delete(ctx, r.Client, s.Namespace, name); err != nil {
			return false, err
		}
	}
	refused := false
	for _, m := range d.Create {
		if in.Refused[m.Repository.Snapshot] != nil {
			continue
		}
		job, err := r.job(ctx, s, in.Snapshots[m.Repository.Snapshot], m)
		if refusal, ok := refusalOf(err); ok {
			in.Refused[m.Repository.Snapshot] = refusal
			refused = true
			continue
		}
		if err != nil {
			return false, err
		}
		made, ours, err := movers.Create(ctx, r.Client, r.APIReader, s, job)
		if err != nil {
			return false, err
		}
		if !ours {
			return false, fmt.Errorf("create job %s: the name is still in use by a deleted run's Job", job.Name)
		}
		in.Jobs[m.Name] = made
	}
	return refused, nil
}

// job builds the Job of one mover. Everything comes from the frozen session, but whether it may have the storage's
// credentials is asked again.
func (r *Reconciler) job(ctx context.Context, s *v1alpha1.BackupSession, snap *v1alpha1.Snapshot, m session.Mover) (*batchv1.Job, error) {
	var storage v1alpha1.BackupStorage
	key := client.ObjectKey{Namespace: m.Repository.StorageRef.Namespace, Name: m.Repository.StorageRef.Name}
	if err := r.Get(ctx, key, &storage); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, refuse(v1alpha1.ReasonStorageNotFound, "there is no BackupStorage %s", key)
		}
		return nil, fmt.Errorf("get backup storage %s: %w", key, err)
	}
	if err := access.EnsureMover(ctx, r.Client, s.Namespace); err != nil {
		return nil, err
	}
	secrets := policy.JobName("backup", s.Name, m.Repository.Name)
	credentials, err := access.EnsureCredentials(ctx, r.Client, s, s.Namespace, &storage, m.Repository.EncryptionSecret, secrets)
	if err != nil {
		return nil, err
	}
	privileged, err := access.Privileged(ctx, r.Client, s.Namespace)
	if err != nil {
		return nil, err
	}
	job, err := task.BackupJob(task.BackupJobInput{
		Session: s, Snapshot: snap, Target: *m.Target, Host: *m.Host, Repository: *m.Repository, Storage: &storage,
		Credentials: credentials, Timeout: max(s.Status.BackupDeadline.Sub(r.Clock.Now()), time.Second),
		Privileged: privileged, ClusterUID: r.ClusterUID,
	})
	if err != nil {
		return nil, fmt.Errorf("build job of %s: %w", m, err)
	}
	job.Name = m.Name
	return job, nil
}
