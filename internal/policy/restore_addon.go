package policy

import (
	"encoding/json"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// RestoreTask is the task that restores where policy names none.
const RestoreTask = BackupTask + restoreSuffix

// VolumeRestoreTask is the task that makes claims of VolumeSnapshots.
const VolumeRestoreTask = "volume-snapshot" + restoreSuffix

// restoreSuffix makes the name of a backup task that of the one which restores what it backed up.
const restoreSuffix = "-restore"

// ParamArgs is the parameter with further arguments of the program that reads or writes a database.
const ParamArgs = "args"

// RestoreAddon says how is restored what info backs up: by the task of its name with -restore, with those parameters and variables that
// this task declares too, in a pod of the same shape. Further arguments are left out: they are those of the program that dumps.
func RestoreAddon(addon *v1alpha1.Addon, info *v1alpha1.AddonInfo) (*v1alpha1.AddonInfo, error) {
	out := &v1alpha1.AddonInfo{
		Name: info.Name, ContainerRuntimeSettings: info.ContainerRuntimeSettings.DeepCopy(), JobTemplate: info.JobTemplate.DeepCopy(),
	}
	for i := range info.Tasks {
		from := &info.Tasks[i]
		name := from.Name
		if found := FindTask(addon, name, false); found != nil {
			name = found.Name
		}
		task := FindTask(addon, name+restoreSuffix, true)
		if task == nil {
			return nil, fmt.Errorf("the Addon %q has no restore task %q for what its task %q backed up; it has %s",
				addon.Name, name+restoreSuffix, name, taskNames(addon.Spec.RestoreTasks))
		}
		params := Declared(task, Params(from))
		delete(params, ParamArgs)
		reference := v1alpha1.TaskReference{Name: task.Name, Params: NewParams(params)}
		for _, v := range from.Variables {
			if v.Name != ParamArgs && declares(task, v.Name) {
				reference.Variables = append(reference.Variables, *v.DeepCopy())
			}
		}
		out.Tasks = append(out.Tasks, reference)
	}
	return out, nil
}

// Declared are those of the parameters that a task has.
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

// NewParams are the parameters as a policy has them, nil for none.
func NewParams(params map[string]string) *apiextensionsv1.JSON {
	if len(params) == 0 {
		return nil
	}
	raw, _ := json.Marshal(params) // of strings, which never fails
	return &apiextensionsv1.JSON{Raw: raw}
}

// AddonOfRestore is the Addon of a restore with its task: what the restore names, else the one for its target, which is nil where it
// makes new claims. It has no name where the target does not tell.
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
