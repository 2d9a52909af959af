package restoresession

import (
	"context"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/task"
)

// The Addons and the task of a restore that names none.
const (
	defaultAddon         = "pvc-addon"
	defaultWorkloadAddon = "workload-addon"
	defaultTask          = "logical-backup-restore"
)

// resolveTask resolves Addon, task and Function.
func (r *Reconciler) resolveTask(ctx context.Context, look *search) error {
	s, info := look.session, look.session.Spec.Addon
	vars := task.Variables{
		MoverImage: r.MoverImage, Namespace: s.Namespace, RestoreSession: s.Name, Snapshot: look.Resolved.Snapshot,
	}
	if s.Spec.Target != nil {
		vars.TargetKind, vars.TargetName = s.Spec.Target.Kind, s.Spec.Target.Name
	}
	if info == nil {
		info = &v1alpha1.AddonInfo{Name: defaultAddon, Tasks: []v1alpha1.TaskReference{{Name: defaultTask}}}
		if vars.TargetKind != v1alpha1.KindPersistentVolumeClaim {
			info.Name = defaultWorkloadAddon
		}
	}
	resolved, _, refusal, err := lifecycle.Task(ctx, lifecycle.Sure{Reader: r.Client, Live: r.APIReader}, *info, true, vars)
	if err != nil {
		return err
	}
	look.depends(v1alpha1.Group, v1alpha1.AddonKind, "", info.Name, refusal == nil || refusal.Reason != v1alpha1.ReasonAddonNotFound)
	if resolved.Function != "" {
		look.depends(v1alpha1.Group, v1alpha1.FunctionKind, "", resolved.Function, true)
	}
	look.Resolved.Task, look.Error = resolved, refusal
	return nil
}
