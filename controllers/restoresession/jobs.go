package restoresession

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/movers"
	"github.com/cairn-backup/cairn/internal/task"
)

// create makes the Job of one host of a frozen restore. What was frozen may be long ago, because the manager was not there
// for a while, and another restore may have been frozen in the same moment: whether the claims are free is asked again.
func (r *Reconciler) create(ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost, attempt int32) error {
	if err := r.keeper().Newest(ctx, s); err != nil {
		return err
	}
	job, err := r.job(ctx, s, h, attempt)
	if err != nil {
		return err
	}
	if err := r.usable(ctx, s, s.Status.Resolved, h, true); err != nil {
		return err
	}
	return movers.Create(ctx, r.Client, r.APIReader, s, job)
}

// job builds the Job of one host of a frozen restore. Whether it may have the Snapshot and the storage's credentials is
// asked now.
func (r *Reconciler) job(ctx context.Context, s *v1alpha1.RestoreSession, h *v1alpha1.ResolvedRestoreHost, attempt int32) (*batchv1.Job, error) {
	resolved := s.Status.Resolved
	namespace := sourceNamespace(s)
	if err := r.consent(ctx, s.Namespace, namespace, resolved.Repository.Name); err != nil {
		return nil, err
	}
	var snap v1alpha1.Snapshot
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: resolved.Snapshot}, &snap)
	if apierrors.IsNotFound(err) || err == nil && snap.UID != resolved.SnapshotUID {
		return nil, movers.Refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s was deleted", resolved.Snapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("get snapshot %s: %w", resolved.Snapshot, err)
	}
	name := session.RestoreJobName(s.Name, h.Name, attempt)
	means, err := movers.Provide(ctx, r.Client, s, resolved.Repository, name)
	if err != nil {
		return nil, err
	}
	resume, empty := map[string]bool{}, true
	for _, v := range h.Volumes {
		c := s.Status.Components[v.Component]
		resume[v.Component] = c.TargetWritten
		empty = empty && v.Stream == nil && (v.Template > 0 || c.TargetEmpty)
	}
	job, err := task.RestoreJob(task.RestoreJobInput{
		Name: name, Session: s, Resolved: *resolved, Host: *h, Resume: resume,
		Restore: task.Restore{
			Overwrite: session.Overwrites(s), DeleteExtra: s.Spec.DeleteExtraFiles, Verify: s.Spec.Verify,
			Group: empty && task.CanTakeGroup(h.SecurityContext, resolved.Task, &means.Storage),
		},
		AppRef: snap.Spec.AppRef, Storage: &means.Storage, Credentials: means.Credentials,
		Timeout:    movers.Timeout(s.Status.RestoreDeadline.Time, r.Clock.Now()),
		Privileged: means.Privileged, ClusterUID: r.ClusterUID,
	})
	if err != nil {
		return nil, fmt.Errorf("build job of restore session %s: %w", s.Name, err)
	}
	return job, nil
}
