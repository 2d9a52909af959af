package backupsession

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// hooks resolves the hooks of a session that run around all of its targets.
func (r *Reconciler) hooks(
	ctx context.Context, s *v1alpha1.BackupSession, config *v1alpha1.SessionConfig, start *backup.Start,
) error {
	var target *v1alpha1.TypedObjectReference
	if len(start.Targets) == 1 {
		target = &start.Targets[0].Resolved.AppRef
	}
	var err error
	start.Hooks, start.HookError, err = r.hooksOf(ctx, s, config.Hooks, target)
	return err
}

// hooksOf resolves hooks of a run. target is the only target that the hooks are about; it is nil if there are several.
func (r *Reconciler) hooksOf(
	ctx context.Context, s *v1alpha1.BackupSession, hooks *v1alpha1.BackupHooks, target *v1alpha1.TypedObjectReference,
) (*v1alpha1.ResolvedHooks, *v1alpha1.ResolvedError, error) {
	if hooks == nil {
		return nil, nil, nil
	}
	builtin := policy.BackupHookValues(s.Namespace, s.Spec.Invoker.Kind, s.Spec.Invoker.Name, s.Spec.Session, target)
	builtin["backupSession"] = s.Name
	return read.Hooks(ctx, read.FallbackReader{Reader: r.Client, Live: r.APIReader}, s.Namespace,
		hooks.PreBackup, hooks.PostBackup, builtin, r.MoverImage)
}

// others looks past the cache for the runs beside which this run must not start.
func (r *Reconciler) others(
	ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object, start *backup.Start,
) error {
	if start.Rivals.Judged() {
		var err error
		if start.Rivals.Runs, err = r.rivals(ctx, s, invoker); err != nil {
			return err
		}
	}
	if !start.HasHooks() {
		return nil
	}
	return r.lookForHooks(ctx, s, start)
}

// lookForHooks looks past the cache for a run that has hooks on a target on which this run has hooks too.
func (r *Reconciler) lookForHooks(ctx context.Context, s *v1alpha1.BackupSession, start *backup.Start) error {
	var list v1alpha1.BackupSessionList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list BackupSessions: %w", err)
	}
	if other := start.SharesHooks(list.Items); other != nil {
		start.HooksOf = other.Name
	}
	return nil
}
