package restoresession

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// A backup and a restore that both work with a volume exclude each other. Each first writes its own status.resolved,
// which names the volume, and then looks at the other's, past the caches, before it makes what reads or writes. So at
// least one of two that begin at the same moment sees the other. Then the backup gives up, and the restore waits until
// the backup has ended.

// unreadByRuns returns an error that passes by itself if a backup holds one of the volumes.
func (r *Reconciler) unreadByRuns(
	ctx context.Context, namespace string, volumes []v1alpha1.ResolvedRestoreVolume,
) error {
	var backups v1alpha1.BackupSessionList
	if err := r.APIReader.List(ctx, &backups, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("list BackupSessions: %w", err)
	}
	for i := range volumes {
		claim := volumes[i].ClaimName
		by, err := run.RunReading(backups.Items, claim, func(c *v1alpha1.ResolvedCopy) (bool, error) {
			return r.copyMade(ctx, namespace, c)
		})
		if err != nil {
			return err
		}
		if by != nil {
			return heldBy(by, "PersistentVolumeClaim "+claim)
		}
	}
	return nil
}

// undumped is unreadByRuns for a database.
func (r *Reconciler) undumped(
	ctx context.Context, s *v1alpha1.RestoreSession, server *v1alpha1.ResolvedDatabase,
) error {
	var backups v1alpha1.BackupSessionList
	if err := r.APIReader.List(ctx, &backups, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list BackupSessions: %w", err)
	}
	if by := run.RunReadingDatabase(backups.Items, *s.Spec.Target, server); by != nil {
		return heldBy(by, s.Spec.Target.String())
	}
	return nil
}

// copyMade reports whether a copy of a volume is made. The claim of a copy is created once its VolumeSnapshot is ready;
// a clone has its data when it is bound.
func (r *Reconciler) copyMade(ctx context.Context, namespace string, c *v1alpha1.ResolvedCopy) (bool, error) {
	claim, err := r.claim(ctx, namespace, c.Name)
	if err != nil || claim == nil {
		return false, err
	}
	return c.VolumeSnapshotClassName != "" || claim.Status.Phase == corev1.ClaimBound, nil
}

func heldBy(backup *v1alpha1.BackupSession, what string) error {
	refusal := movers.Refuse(v1alpha1.ReasonVolumeInUse,
		"BackupSession %s backs up %s: try again when that BackupSession has ended", backup.Name, what)
	return errors.Join(refusal, errMoverRuns)
}

// waits reports whether a frozen restore waits for what err says, and makes the decision say so. A restore waits as
// long as one that is not frozen: waitForMover.
func (r *Reconciler) waits(s *v1alpha1.RestoreSession, d *restore.Decision, err error) bool {
	now := r.Clock.Now()
	until := s.Status.StartTime.Add(waitForMover)
	if !moverRuns(err) || !now.Before(until) || d.Status.Attempt > 1 {
		return false
	}
	refusal := movers.RefusalOf(err)
	d.Status.Reason = refusal.Reason
	d.Event = run.Wait(&d.Status.Conditions, refusal.Reason, run.Waiting(refusal.Message), s.Generation, now)
	d.After = run.EarlierOf(d.After, min(until.Sub(now), run.PollInterval))
	return true
}

// goesOn makes the decision say that a restore runs that has waited.
func (r *Reconciler) goesOn(s *v1alpha1.RestoreSession, d *restore.Decision) {
	if d.Status.Reason == v1alpha1.ReasonVolumeInUse && !d.Status.Phase.Terminal() {
		d.Status.Reason = v1alpha1.ReasonRunning
		run.Progress(&d.Status.Conditions, v1alpha1.ReasonRunning, "the restore runs", s.Generation, r.Clock.Now())
	}
}
