package restoresession

import (
	"context"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/database"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// resolveTask resolves Addon, task and Function.
func (r *Reconciler) resolveTask(ctx context.Context, look *lookup) error {
	s := look.session
	vars := catalog.Variables{
		MoverImage: r.MoverImage, Namespace: s.Namespace, RestoreSession: s.Name, Snapshot: look.Resolved.Snapshot,
		Confirm: s.Spec.Confirm,
	}
	if s.Spec.Target != nil {
		vars.TargetKind, vars.TargetName = s.Spec.Target.Kind, s.Spec.Target.Name
	}
	info := catalog.AddonOfRestore(s.Spec.Target, s.Spec.Addon)
	if info.Name == "" {
		databaseInfo := func() catalog.DatabaseInfo {
			return catalog.DatabaseInfo{Found: true, Type: database.TypeOf(look.database.Target)}
		}
		if info.Name, look.Error = catalog.AddonOf(*s.Spec.Target, databaseInfo); look.Error != nil {
			return nil
		}
	}
	if look.Error = restore.DumpRefusal(look.snapshot, s.Spec.Target, s.Spec.Addon); look.Error != nil {
		return nil
	}
	resolved, refusal, err := r.resolved(ctx, look, info, vars)
	if err != nil {
		return err
	}
	catalog := read.FallbackReader{Reader: r.Client, Live: r.APIReader}
	if look.Resolved.Executor, err = read.Executor(ctx, catalog, s.Spec.Executor, info, true); err != nil {
		return err
	}
	look.depends(v1alpha1.AddonKind, "", info.Name,
		refusal == nil || refusal.Reason != v1alpha1.ReasonAddonNotFound)
	if resolved.Function != "" {
		look.depends(v1alpha1.FunctionKind, "", resolved.Function, true)
	}
	look.Resolved.Task, look.Error = resolved, refusal
	return nil
}

// resolved returns the task. It also sets the programs of the components if the target is a database, and the program
// that makes the files of a physical backup.
func (r *Reconciler) resolved(
	ctx context.Context, look *lookup, info v1alpha1.AddonInfo, vars catalog.Variables,
) (v1alpha1.ResolvedTask, *v1alpha1.ResolvedError, error) {
	catalog := read.FallbackReader{Reader: r.Client, Live: r.APIReader}
	if look.database == nil || len(info.Tasks) != 1 {
		resolved, unpacker, refusal, err := read.RestoreTask(ctx, catalog, info, vars)
		look.target.Unpacker = unpacker
		return resolved, refusal, err
	}
	components, refusal := restore.ChooseComponents(look.snapshot, look.session.Spec.DataSource.Components)
	if refusal != nil {
		return v1alpha1.ResolvedTask{}, refusal, nil
	}
	resolved, streams, refusal, err := read.DatabaseTask(ctx, catalog, info, true, vars, look.database, components)
	look.target.Streams = streams
	return resolved, refusal, err
}

// resolveHooks resolves the hooks of a restore.
func (r *Reconciler) resolveHooks(ctx context.Context, look *lookup) error {
	s := look.session
	if s.Spec.Hooks == nil {
		return nil
	}
	hooks, refusal, err := read.Hooks(ctx, read.FallbackReader{Reader: r.Client, Live: r.APIReader}, s.Namespace,
		s.Spec.Hooks.PreRestore, s.Spec.Hooks.PostRestore,
		policy.RestoreHookValues(s, s.Namespace), r.MoverImage)
	if hooks != nil && s.Spec.Target != nil {
		hooks.Targets = []v1alpha1.TypedObjectReference{*s.Spec.Target}
	}
	look.Resolved.Hooks, look.Error = hooks, refusal
	if refusal != nil && hook.MayCome(refusal.Reason) {
		look.Wait = run.WaitForChild
	}
	return err
}
