package restoresession

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/movers"
	"github.com/cairn-backup/cairn/internal/task"
)

// jobName is the name of a frozen restore's Job.
func jobName(s *v1alpha1.RestoreSession) string {
	return task.RestoreJobName(s.Name, s.Status.Resolved.Component)
}

// create makes the Job of a frozen restore. What was frozen may be long ago, because the manager was not there for a while,
// and another restore may have been frozen in the same moment: whether the claim is free is asked again.
func (r *Reconciler) create(ctx context.Context, s *v1alpha1.RestoreSession) error {
	if err := r.keeper().Newest(ctx, s); err != nil {
		return err
	}
	claim, err := r.claim(ctx, s.Namespace, s.Status.Resolved.ClaimName)
	if err != nil {
		return err
	}
	if claim == nil || claim.UID != s.Status.Resolved.ClaimUID {
		return movers.Refuse(v1alpha1.ReasonTargetNotFound, "PersistentVolumeClaim %s was deleted", s.Status.Resolved.ClaimName)
	}
	if err := r.usable(ctx, s, claim); err != nil {
		return err
	}
	job, err := r.job(ctx, s)
	if err != nil {
		return err
	}
	return movers.Create(ctx, r.Client, r.APIReader, s, job)
}

// job builds the Job of a frozen restore. Whether it may have the storage's credentials is asked now.
func (r *Reconciler) job(ctx context.Context, s *v1alpha1.RestoreSession) (*batchv1.Job, error) {
	resolved := s.Status.Resolved
	var snap v1alpha1.Snapshot
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: resolved.Snapshot}, &snap)
	if apierrors.IsNotFound(err) || err == nil && snap.UID != resolved.SnapshotUID {
		return nil, movers.Refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s was deleted", resolved.Snapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("get snapshot %s: %w", resolved.Snapshot, err)
	}
	means, err := movers.Provide(ctx, r.Client, s, resolved.Repository, jobName(s))
	if err != nil {
		return nil, err
	}
	job, err := task.RestoreJob(task.RestoreJobInput{
		Session: s, Resolved: *resolved, AppRef: snap.Spec.AppRef, Storage: &means.Storage, Credentials: means.Credentials,
		Timeout:    max(s.Status.RestoreDeadline.Sub(r.Clock.Now()), time.Second),
		Privileged: means.Privileged, ClusterUID: r.ClusterUID,
	})
	if err != nil {
		return nil, fmt.Errorf("build job of restore session %s: %w", s.Name, err)
	}
	return job, nil
}
