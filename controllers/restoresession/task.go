package restoresession

import (
	"context"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/task"
)

// The Addon and task of a restore that names none.
const (
	defaultAddon = "pvc-addon"
	defaultTask  = "logical-backup-restore"
)

// task resolves Addon, task and Function, and as whom the restore writes.
func (r *Reconciler) task(ctx context.Context, s *v1alpha1.RestoreSession, start *session.RestoreStart) error {
	info := s.Spec.Addon
	if info == nil {
		info = &v1alpha1.AddonInfo{Name: defaultAddon, Tasks: []v1alpha1.TaskReference{{Name: defaultTask}}}
	}
	resolved, _, refusal, err := lifecycle.Task(ctx, r.Client, *info, true, task.Variables{
		MoverImage: r.MoverImage, Namespace: s.Namespace, RestoreSession: s.Name, Snapshot: start.Resolved.Snapshot,
		TargetKind: s.Spec.Target.Kind, TargetName: s.Spec.Target.Name,
	})
	if err != nil {
		return err
	}
	if refusal != nil {
		start.Error = refusal
		return nil
	}
	privileged, err := access.Privileged(ctx, r.Client, s.Namespace)
	if err != nil {
		return err
	}
	start.Resolved.Task = resolved
	start.Resolved.SecurityContext, start.Error = session.RestoreSecurityContext(resolved.Job, privileged)
	return nil
}
