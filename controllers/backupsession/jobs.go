package backupsession

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/workload"
)

// writeJobs deletes and creates the Jobs of a decision. If a Job must not be created, it adds the reason to refused:
// the next decision takes that into account.
func (r *Reconciler) writeJobs(
	ctx context.Context, in backup.Input, d backup.Decision, refused movers.Refusals,
) error {
	s := in.Session
	for _, name := range d.Delete {
		if in.Jobs[name].Sidecar {
			continue
		}
		if err := movers.Delete(ctx, r.Client, s.Namespace, name, in.Jobs[name]); err != nil {
			return err
		}
	}
	if len(d.Create) == 0 {
		return r.writeSidecars(ctx, in, d, refused)
	}
	if err := oneshot.Newest(ctx, r.APIReader, s); err != nil {
		return err
	}
	// The state can have been frozen long ago, for example if the manager was down. So read the restores of today.
	restores, err := r.restores(ctx, s.Namespace)
	if err != nil {
		return err
	}
	for _, m := range d.Create {
		if refusal := restoreOnto(restores, m.Target, m.Host); refusal != nil && len(m.Target.Copies) == 0 {
			refused.Set(ctx, m.Repository.Snapshot, refusal)
		}
		if refused[m.Repository.Snapshot] != nil || workload.IsSidecar(m.Target) {
			continue
		}
		err := r.create(ctx, in, m)
		if refusal := movers.RefusalOf(err); refusal != nil {
			refused.Set(ctx, m.Repository.Snapshot, refusal)
		} else if err != nil {
			return err
		}
	}
	return r.writeSidecars(ctx, in, d, refused)
}

// create creates the Job of one mover.
func (r *Reconciler) create(ctx context.Context, in backup.Input, m backup.Mover) error {
	job, err := r.job(ctx, in, m)
	if err != nil {
		return err
	}
	return movers.Create(ctx, r.Client, r.APIReader, in.Session, job)
}

// job builds the Job of one mover. Everything comes from the frozen session, except that the storage's usagePolicy is
// checked again.
func (r *Reconciler) job(ctx context.Context, in backup.Input, m backup.Mover) (*batchv1.Job, error) {
	s, snap := in.Session, in.Snapshots[m.Repository.Snapshot]
	if backup.IsVolumeSnapshots(m.Target) {
		return r.volumeSnapshotJob(ctx, s, snap, m)
	}
	granted, err := movers.ProvideAccess(ctx, r.Client, s, *m.Repository,
		policy.JobName("backup", s.Name, m.Repository.Name))
	if err != nil {
		return nil, err
	}
	job, err := moverjob.BackupJob(moverjob.BackupJobInput{
		Session: s, Snapshot: snap, Target: *m.Target, Host: *m.Host, Repository: *m.Repository,
		Storage: &granted.Storage, CopiedAt: backup.CopiedAt(in, m.Target, m.Host),
		Credentials: granted.Credentials, Timeout: movers.Timeout(backup.DeadlineOf(s, m.Target.Name), r.Clock.Now()),
		Privileged: granted.Privileged, ClusterUID: r.ClusterUID,
	})
	if err != nil {
		return nil, fmt.Errorf("build Job of %s: %w", m, err)
	}
	job.Name = m.Name
	return job, nil
}
