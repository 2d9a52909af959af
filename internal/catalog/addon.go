package catalog

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/variables"
)

// AddonMistakes finds what no policy can make work in an Addon: parameters that nobody is allowed to set or that
// require missing parameters, volumes and mounts with names or paths of Cairn, and mounts of volumes that the task
// lacks.
func AddonMistakes(addon *v1alpha1.Addon) []policy.Mistake {
	var mistakes []policy.Mistake
	for _, list := range TaskLists(addon) {
		for i := range list.Tasks {
			mistakes = append(mistakes, addonTaskMistakes(fmt.Sprintf("%s[%d]", list.Field, i), &list.Tasks[i])...)
		}
	}
	return mistakes
}

// taskList is one of an Addon's lists of tasks with its field.
type taskList struct {
	Field string
	Tasks []v1alpha1.Task
}

// TaskLists returns the lists of tasks of an Addon, each with its field.
func TaskLists(addon *v1alpha1.Addon) []taskList {
	return []taskList{{"spec.backupTasks", addon.Spec.BackupTasks}, {"spec.restoreTasks", addon.Spec.RestoreTasks}}
}

func addonTaskMistakes(field string, t *v1alpha1.Task) []policy.Mistake {
	var mistakes []policy.Mistake
	for i, p := range t.Parameters {
		if variables.IsFixed(p.Name) {
			mistakes = append(mistakes, invalidParameter(fmt.Sprintf("%s.parameters[%d].name", field, i),
				"the variable %q decides which mover runs: nobody can set it", p.Name))
		}
	}
	mistakes = append(mistakes, undeclaredRequirements(field, t)...)
	for i, s := range t.Steps {
		for j, p := range s.Params {
			if variables.IsFixed(p.Name) {
				mistakes = append(mistakes, invalidParameter(fmt.Sprintf("%s.steps[%d].params[%d].name", field, i, j),
					"the variable %q decides which mover runs: nobody can set it", p.Name))
			}
		}
	}
	for i, v := range t.VolumeTemplate {
		if reservedVolume(v.Name) && v.Name != variables.ScratchVolume && v.Name != variables.WorkVolume {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.volumeTemplate[%d].name", field, i),
				"a volume of Cairn has the name %q: choose another", v.Name))
		}
	}
	for i, m := range t.VolumeMounts {
		at := fmt.Sprintf("%s.volumeMounts[%d]", field, i)
		if !templated(m) && !hasVolume(t, m.Name) {
			mistakes = append(mistakes, invalidTask(at+".name", "there is no volume %q in volumeTemplate", m.Name))
		}
		if why := reservedPath(m.MountPath); why != "" && !strings.Contains(m.MountPath, "${") {
			mistakes = append(mistakes, invalidTask(at+".mountPath", "%s", why))
		}
	}
	return mistakes
}

// templated reports whether a variable decides which volume is mounted.
func templated(m corev1.VolumeMount) bool { return strings.Contains(m.Name, "${") }

func hasVolume(t *v1alpha1.Task, name string) bool {
	return name == variables.ScratchVolume || slices.ContainsFunc(t.VolumeTemplate,
		func(v v1alpha1.VolumeTemplate) bool {
			return v.Name == name || strings.Contains(v.Name, "${")
		})
}
