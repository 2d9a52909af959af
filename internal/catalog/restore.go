package catalog

import (
	"encoding/json"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// RestoreTask is the restore task if policy names none.
const RestoreTask = BackupTask + restoreSuffix

// VolumeRestoreTask is the task that makes claims from VolumeSnapshots.
const VolumeRestoreTask = "volume-snapshot" + restoreSuffix

// restoreSuffix is appended to the name of a backup task to form the name of its restore task.
const restoreSuffix = "-restore"

// paramArgs is the task parameter with further arguments of the program that reads or writes a database.
const paramArgs = "args"

// RestoreAddon returns how to restore what info backs up: by the task of the same name with -restore, with the
// parameters and variables that this task declares too, in a pod of the same shape. It leaves out paramArgs, which
// belongs to the program that dumps.
func RestoreAddon(addon *v1alpha1.Addon, info *v1alpha1.AddonInfo) (*v1alpha1.AddonInfo, error) {
	out := &v1alpha1.AddonInfo{
		Name: info.Name, ContainerRuntimeSettings: info.ContainerRuntimeSettings.DeepCopy(),
		JobTemplate: info.JobTemplate.DeepCopy(),
	}
	for i := range info.Tasks {
		from := &info.Tasks[i]
		name := from.Name
		if found := FindTask(addon, name, false); found != nil {
			name = found.Name
		}
		task := FindTask(addon, name+restoreSuffix, true)
		if task == nil {
			return nil, fmt.Errorf("the Addon %q has no restore task %q for backups of its task %q; it has %s",
				addon.Name, name+restoreSuffix, name, taskNames(addon.Spec.RestoreTasks))
		}
		params := Declared(task, from.StringParams())
		delete(params, paramArgs)
		reference := v1alpha1.TaskReference{Name: task.Name, Params: NewParams(params)}
		for _, v := range from.Variables {
			if v.Name != paramArgs && declares(task, v.Name) {
				reference.Variables = append(reference.Variables, *v.DeepCopy())
			}
		}
		out.Tasks = append(out.Tasks, reference)
	}
	return out, nil
}

// Declared returns the parameters that a task declares.
func Declared(task *v1alpha1.Task, params map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range params {
		if declares(task, name) {
			out[name] = value
		}
	}
	return out
}

func declares(task *v1alpha1.Task, name string) bool {
	return slices.ContainsFunc(task.Parameters, func(p v1alpha1.TaskParameter) bool { return p.Name == name })
}

// NewParams encodes the parameters as a policy has them; nil for none.
func NewParams(params map[string]string) *apiextensionsv1.JSON {
	if len(params) == 0 {
		return nil
	}
	raw, _ := json.Marshal(params) // Encoding strings never fails.
	return &apiextensionsv1.JSON{Raw: raw}
}

// AddonOfRestore returns the Addon of a restore with its task: what the restore names, else the Addon for its target. A
// nil target means new claims. The Addon has no name if the target's kind does not decide.
func AddonOfRestore(target *v1alpha1.TypedObjectReference, info *v1alpha1.AddonInfo) v1alpha1.AddonInfo {
	if info != nil {
		return *info
	}
	name := VolumeAddon
	if target != nil {
		name = InferredAddon(*target)
	}
	return v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{{Name: RestoreTask}}}
}
