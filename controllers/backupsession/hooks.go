package backupsession

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
)

// hooks resolves the hooks of a session.
func (r *Reconciler) hooks(ctx context.Context, s *v1alpha1.BackupSession, config *v1alpha1.SessionConfig, start *session.Start) error {
	if config.Hooks == nil {
		return nil
	}
	var target *v1alpha1.TypedObjectReference
	if len(start.Targets) == 1 {
		target = &start.Targets[0].Resolved.AppRef
	}
	builtin := policy.BackupHookValues(s.Namespace, s.Spec.Invoker.Kind, s.Spec.Invoker.Name, s.Spec.Session, target)
	builtin["backupSession"] = s.Name
	var err error
	start.Hooks, start.HookError, err = lifecycle.Hooks(ctx, lifecycle.Sure{Reader: r.Client, Live: r.APIReader}, s.Namespace,
		config.Hooks.PreBackup, config.Hooks.PostBackup, builtin, r.MoverImage)
	return err
}

// others looks past the cache for the runs that a run must not start beside.
func (r *Reconciler) others(ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object, start *session.Start) error {
	if start.Rivals.Judged() {
		var err error
		if start.Rivals.Runs, err = r.rivals(ctx, s, invoker); err != nil {
			return err
		}
	}
	if start.Hooks == nil {
		return nil
	}
	return r.lookForHooks(ctx, s, start)
}

// lookForHooks looks past the cache for a run with hooks on one of the targets.
func (r *Reconciler) lookForHooks(ctx context.Context, s *v1alpha1.BackupSession, start *session.Start) error {
	var list v1alpha1.BackupSessionList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list backup sessions: %w", err)
	}
	if other := session.SharesHooks(list.Items, start.Targets); other != nil {
		start.HooksOf = other.Name
	}
	return nil
}
