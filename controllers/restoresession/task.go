package restoresession

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/session"
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
	addon := &v1alpha1.Addon{}
	if err := r.Get(ctx, client.ObjectKey{Name: info.Name}, addon); apierrors.IsNotFound(err) {
		addon = nil
	} else if err != nil {
		return fmt.Errorf("get addon %s: %w", info.Name, err)
	}
	var lookupErr error
	resolved, _, refusal := task.Resolve(addon, func(name string) *v1alpha1.Function {
		var f v1alpha1.Function
		if err := r.Get(ctx, client.ObjectKey{Name: name}, &f); err != nil {
			if client.IgnoreNotFound(err) != nil {
				lookupErr = fmt.Errorf("get function %s: %w", name, err)
			}
			return nil
		}
		return &f
	}, *info, true, task.Variables{
		MoverImage: r.MoverImage, Namespace: s.Namespace, RestoreSession: s.Name, Snapshot: start.Resolved.Snapshot,
		TargetKind: s.Spec.Target.Kind, TargetName: s.Spec.Target.Name,
	})
	if lookupErr != nil {
		return lookupErr
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
