package policy

import (
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
)

// someRun stands for the name of a run that does not exist yet.
const someRun = "run"

// BackupHookValues returns the built-in variables of a session's hooks, as far as its policy determines them. target is
// nil for a session with several targets.
func BackupHookValues(namespace, kind, name, session string, target *v1alpha1.TypedObjectReference) hook.Builtin {
	out := hook.Builtin{
		"namespace": namespace, "backupSession": someRun, "restoreSession": "", "session": session,
		"invokerKind": kind, "invokerName": name, "targetKind": "", "targetName": "",
	}
	if target != nil {
		out["targetKind"], out["targetName"] = target.Kind, target.Name
	}
	return out
}

// RestoreHookValues returns the built-in variables of a restore's hooks.
func RestoreHookValues(restore *v1alpha1.RestoreSession, namespace string) hook.Builtin {
	out := hook.Builtin{
		"namespace": namespace, "backupSession": "", "restoreSession": restore.Name, "session": "",
		"invokerKind": "", "invokerName": "", "targetKind": "", "targetName": "",
	}
	if t := restore.Spec.Target; t != nil {
		out["targetKind"], out["targetName"] = t.Kind, t.Name
	}
	return out
}

// RestoreBatchHookValues returns the built-in variables of the hooks around all targets of a RestoreBatch, which is
// their invoker. A RestoreBatch with only one target also sets the variables of that target.
func RestoreBatchHookValues(batch *v1alpha1.RestoreBatch, namespace string) hook.Builtin {
	out := hook.Builtin{
		"namespace": namespace, "backupSession": "", "restoreSession": "", "session": "",
		"invokerKind": v1alpha1.RestoreBatchKind, "invokerName": batch.Name, "targetKind": "", "targetName": "",
	}
	if len(batch.Spec.Targets) == 1 && batch.Spec.Targets[0].Target != nil {
		out["targetKind"], out["targetName"] = batch.Spec.Targets[0].Target.Kind, batch.Spec.Targets[0].Target.Name
	}
	return out
}

// Hook is the use of a HookTemplate with its position.
type Hook struct {
	// Field of the hook, for example spec.sessions[0].hooks.preBackup[1].
	Field string
	*v1alpha1.HookInfo
}

// BackupHooks returns the hooks of the session at field.
func BackupHooks(field string, hooks *v1alpha1.BackupHooks) []Hook {
	if hooks == nil {
		return nil
	}
	return append(hooksAt(field+".hooks.preBackup", hooks.PreBackup),
		hooksAt(field+".hooks.postBackup", hooks.PostBackup)...)
}

// BatchHooks returns the hooks of session i of a batch and their built-in variables. A session with only one target,
// which spec.targets names, also sets the variables of that target.
func BatchHooks(batch *v1alpha1.BackupBatch, i int) ([]Hook, hook.Builtin) {
	session := &batch.Spec.Sessions[i]
	var only *v1alpha1.TypedObjectReference
	if len(session.Targets) == 1 {
		only = &v1alpha1.TypedObjectReference{}
		for j := range batch.Spec.Targets {
			if t := &batch.Spec.Targets[j]; t.Name == session.Targets[0].Name && t.Selector != nil {
				only = nil
			} else if t.Name == session.Targets[0].Name {
				only = &t.AppRef
			}
		}
	}
	return BackupHooks(fmt.Sprintf("spec.sessions[%d]", i), session.Hooks),
		BackupHookValues(batch.Namespace, v1alpha1.BackupBatchKind, batch.Name, session.Name, only)
}

// TargetHooks returns the hooks of a target in a session of a batch. field is the path of the target, for example
// spec.sessions[0].targets[1].
func TargetHooks(field string, target *v1alpha1.BatchSessionTarget) []Hook {
	return BackupHooks(field, target.Hooks.BackupHooks())
}

// aroundTarget returns the hooks around a backup of a single target of a session: those of the session outside, those
// of the target inside; nil if there are none.
func aroundTarget(session *v1alpha1.BackupHooks, target *v1alpha1.TargetHooks) *v1alpha1.BackupHooks {
	inner := target.BackupHooks()
	switch {
	case inner == nil:
		return session
	case session == nil:
		return inner
	default:
		return &v1alpha1.BackupHooks{
			PreBackup:  slices.Concat(session.PreBackup, inner.PreBackup),
			PostBackup: slices.Concat(inner.PostBackup, session.PostBackup),
		}
	}
}

// RestoreHooks returns the hooks of a restore.
func RestoreHooks(hooks *v1alpha1.RestoreHooks) []Hook {
	if hooks == nil {
		return nil
	}
	return append(hooksAt("spec.hooks.preRestore", hooks.PreRestore),
		hooksAt("spec.hooks.postRestore", hooks.PostRestore)...)
}

func hooksAt(field string, infos []v1alpha1.HookInfo) []Hook {
	out := make([]Hook, len(infos))
	for i := range infos {
		out[i] = Hook{Field: fmt.Sprintf("%s[%d]", field, i), HookInfo: &infos[i]}
	}
	return out
}
