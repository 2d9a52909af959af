package backupsession

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/workload"
)

// cleanUp returns what a decision deletes, except for what writeJobs deletes.
func (r *Reconciler) cleanUp(in backup.Input, d *backup.Decision) []movers.Deletion {
	var out []movers.Deletion
	for _, name := range d.Discard {
		have := in.Copies[name]
		out = append(out, movers.Deletion{Name: "copy " + name, Do: func(ctx context.Context) error {
			return r.copies().Discard(ctx, have)
		}})
	}
	return append(out, movers.DeletionsOf(r.Client, r.APIReader, in.Session, d.Delete, in.Jobs)...)
}

// replaceJobs deletes the Jobs of the first attempts of what a decision creates: no two movers of a host read its
// volumes at once. If one can't be deleted, it adds the reason to refused.
func (r *Reconciler) replaceJobs(
	ctx context.Context, in backup.Input, d *backup.Decision, refused movers.Refusals,
) error {
	for _, m := range d.Create {
		name := run.JobName(m.Repository.Snapshot, m.Host.Name, m.Attempt-1)
		if m.Attempt < 2 || in.Jobs[name].Sidecar || !slices.Contains(d.Delete, name) {
			continue
		}
		_, err := r.deletions.Try(ctx, in.Session.UID, r.Clock,
			movers.DeletionOf(r.Client, r.APIReader, in.Session, name, in.Jobs[name]))
		if refusal := movers.RefusalOf(movers.Undeleted(err)); refusal != nil {
			refused.Set(ctx, m.Repository.Snapshot, refusal)
		} else if err != nil {
			return err
		}
		d.Delete = slices.DeleteFunc(d.Delete, func(other string) bool { return other == name })
	}
	return nil
}

// writeJobs creates the Jobs of a decision, and first deletes those whose place they take. If a Job must not be
// created, it adds the reason to refused: the next decision takes that into account. If a Job must wait for another
// one, it looks again soon.
func (r *Reconciler) writeJobs(
	ctx context.Context, in backup.Input, d *backup.Decision, refused movers.Refusals,
) error {
	s := in.Session
	if len(d.Create) == 0 {
		return r.writeSidecars(ctx, in, *d, refused)
	}
	var names []string
	for _, m := range d.Create {
		names = append(names, m.Repository.Snapshot)
	}
	if r.pauses.Hold(ctx, s.UID, in.Now, refused, names) {
		return nil
	}
	if err := oneshot.Newest(ctx, r.APIReader, s); err != nil {
		return err
	}
	if err := r.replaceJobs(ctx, in, d, refused); err != nil {
		return err
	}
	if err := r.createJobs(ctx, in, d, refused); err != nil {
		return err
	}
	return r.writeSidecars(ctx, in, *d, refused)
}

// createJobs does what writeJobs does about the Jobs to create.
func (r *Reconciler) createJobs(
	ctx context.Context, in backup.Input, d *backup.Decision, refused movers.Refusals,
) error {
	s := in.Session
	// The state can have been frozen long ago, for example if the manager was down. So read the restores of today.
	restores, err := r.restores(ctx, s.Namespace)
	if err != nil {
		return err
	}
	claims, err := r.claims(ctx, s.Namespace)
	if err != nil {
		return err
	}
	takers := &takers{Reconciler: r, namespace: s.Namespace}
	defer takers.close()
	places := places{Reconciler: r, in: in, claims: claims}
	for _, m := range d.Create {
		if refusal := restoreOnto(restores, m.Target, m.Host); refusal != nil && len(m.Target.Copies) == 0 {
			refused.Set(ctx, m.Repository.Snapshot, refusal)
		}
		if refused[m.Repository.Snapshot] != nil || workload.IsSidecar(m.Target) {
			continue
		}
		host, moving, err := places.of(ctx, m)
		if err != nil {
			return err
		}
		if moving != nil {
			d.After = run.EarlierOf(d.After, run.PollInterval)
			d.SayWaits(m.Target.Name, moving.Reason, moving.Message)
			continue
		}
		m.Host = host
		before, err := r.create(ctx, in, m, exclusive(m, claims), takers)
		if refusal := movers.RefusalOf(err); refusal != nil {
			refused.Set(ctx, m.Repository.Snapshot, refusal)
		} else if err != nil {
			return err
		}
		if before == nil {
			continue
		}
		d.After = run.EarlierOf(d.After, run.PollInterval)
		if !metav1.IsControlledBy(before, s) { // else the run goes on all the same
			d.SayWaits(m.Target.Name, v1alpha1.ReasonVolumeInUse, fmt.Sprintf(
				"Job %s waits for Job %s, which has a volume that only one pod can mount", m.Name, before.Name))
		}
	}
	return nil
}

// create creates the Job of one mover, unless the Job must wait until another one has ended: of those that mount a
// volume which one pod can mount, one is there at a time. It returns the other Job, or nil.
func (r *Reconciler) create(
	ctx context.Context, in backup.Input, m backup.Mover, claims exclusiveClaims, takers *takers,
) (before *batchv1.Job, err error) {
	if len(claims.onePod) > 0 {
		before, err := takers.of(ctx, m.Name, claims.onePod)
		if err != nil {
			return nil, err
		}
		if before != nil {
			logf.FromContext(ctx).V(1).Info("waits for another Job, which has the ReadWriteOncePod volume",
				"job", m.Name, "other", before.Name)
			return before, nil
		}
	}
	job, err := r.job(ctx, in, m, claims.oneNode)
	if err != nil {
		return nil, err
	}
	if err := movers.Create(ctx, r.Client, r.APIReader, in.Session, job); err != nil {
		return nil, err
	}
	takers.made(job)
	return nil, nil
}

// job builds the Job of one mover. Everything comes from the frozen session, except that the storage's usagePolicy is
// checked again, that the claims of oneNode are read, and that the node can have been found again.
func (r *Reconciler) job(
	ctx context.Context, in backup.Input, m backup.Mover, oneNode []string,
) (*batchv1.Job, error) {
	s, snap := in.Session, in.Snapshots[m.Repository.Snapshot]
	if backup.IsVolumeSnapshots(m.Target) {
		return r.volumeSnapshotJob(ctx, s, snap, m)
	}
	granted, err := movers.ProvideAccess(ctx, r.Client, s, r.owner(s.Namespace), *m.Repository,
		policy.JobName("backup", s.Name, m.Repository.Name))
	if err != nil {
		return nil, err
	}
	job, err := moverjob.BackupJob(moverjob.BackupJobInput{
		Session: s, Snapshot: snap, Target: *m.Target, Host: *m.Host, Repository: *m.Repository,
		Storage: &granted.Storage, CopiedAt: backup.CopiedAt(in, m.Target, m.Host),
		OneNode: oneNode, Attempt: m.Attempt,
		Credentials: granted.Credentials, Timeout: movers.Timeout(backup.DeadlineOf(s, m.Target.Name), r.Clock.Now()),
		Privileged: granted.Privileged, ClusterUID: r.ClusterUID, Egress: r.Egress.Rules(),
	})
	if err != nil {
		return nil, fmt.Errorf("build Job of %s: %w", m, err)
	}
	job.Name = m.Name
	return job, nil
}
