package catalog

import (
	"cmp"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Executor returns what runs a session: the executor of the policy, else that of the Addon's task. addon can be nil.
func Executor(said v1alpha1.Executor, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool) v1alpha1.Executor {
	var task *v1alpha1.Task
	if addon != nil && info != nil && len(info.Tasks) == 1 {
		task = FindTask(addon, info.Tasks[0].Name, restore)
	}
	if task == nil {
		return cmp.Or(said, v1alpha1.ExecutorJob)
	}
	return cmp.Or(said, task.Executor, v1alpha1.ExecutorJob)
}

// SidecarMistakes finds the settings of a session that only a Job supports. field is the path of the session. storage
// returns the BackupStorage of one of the session's backends, or nil. addon and storage can be nil; then nothing that
// depends on them is checked.
func SidecarMistakes(
	field string, target v1alpha1.TypedObjectReference, session *v1alpha1.BackupConfigurationSession,
	addon *v1alpha1.Addon, storage func(backend string) *v1alpha1.BackupStorage,
) []policy.Mistake {
	var mistakes []policy.Mistake
	add := func(at, format string, args ...any) {
		mistakes = append(mistakes, policy.Mistake{
			Field: field + at, Reason: v1alpha1.ReasonSidecarNotPossible,
			Message: fmt.Sprintf(format, args...) + ": use executor Job",
		})
	}
	if target.Kind == v1alpha1.KindPersistentVolumeClaim {
		add(".executor", "a PersistentVolumeClaim has no pods that a sidecar could run in")
	}
	if target.IsDatabase() {
		add(".executor", "a database is dumped over the network by a pod that runs its image")
	}
	info := session.Addon
	if info == nil {
		return mistakes
	}
	if info.JobTemplate != nil {
		add(".addon.jobTemplate", "a sidecar moves the data without a Job, so only containerRuntimeSettings count")
	}
	for i, reference := range info.Tasks {
		at := fmt.Sprintf(".addon.tasks[%d]", i)
		if len(reference.AddonVolumes) > 0 || reference.TargetVolumes != nil {
			add(at, "a sidecar has only the volumes of its workload")
		}
		if addon == nil {
			continue
		}
		if task := FindTask(addon, reference.Name, false); task != nil {
			switch {
			case task.Driver == v1alpha1.DriverVolumeSnapshotter:
				add(at, "%s", NoSnapshotterSidecar(task.Name))
			case len(TaskSteps(task)) > 1:
				add(at, "the task %q has steps before the mover, for which a sidecar has no containers", task.Name)
			case len(task.VolumeTemplate) > 0 || len(task.VolumeMounts) > 0:
				add(at, "the task %q has volumes of its own, which a sidecar cannot mount", task.Name)
			}
		}
	}
	for i, r := range session.Repositories {
		if storage == nil {
			break
		}
		if s := storage(r.Backend); s != nil && s.Spec.Storage.Local != nil {
			add(fmt.Sprintf(".repositories[%d]", i), "%s is on a volume, which a sidecar does not mount",
				describeStorage(s))
		}
	}
	return mistakes
}

// SidecarRestoreMistakes finds the settings of a restore by a sidecar that only a Job supports.
func SidecarRestoreMistakes(spec *v1alpha1.RestoreSessionSpec) []policy.Mistake {
	no := func(field, message string) policy.Mistake {
		return policy.Mistake{
			Field: field, Reason: v1alpha1.ReasonSidecarNotPossible, Message: message + ": use executor Job",
		}
	}
	if spec.Target == nil {
		return []policy.Mistake{
			no("spec.executor", "no pod of a workload mounts the new claims that the restore makes"),
		}
	}
	mistakes := SidecarMistakes("spec", *spec.Target, &v1alpha1.BackupConfigurationSession{Addon: spec.Addon}, nil, nil)
	if spec.Addon != nil && spec.Addon.ContainerRuntimeSettings != nil {
		mistakes = append(mistakes, no("spec.addon.containerRuntimeSettings",
			"the sidecar is already running, with the settings of the policy that it backs up for"))
	}
	return mistakes
}

func describeStorage(s *v1alpha1.BackupStorage) string {
	return "BackupStorage " + s.Namespace + "/" + s.Name
}
