package policy

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TaskMistakes checks what a policy says about an Addon against the Addon: the task exists, its parameters are declared,
// the required ones are there, and all values are strings. field is where info stands. The tasks are the restore tasks
// where restore is true.
func TaskMistakes(field string, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool) []Mistake {
	tasks, sort := addon.Spec.BackupTasks, "backup"
	if restore {
		tasks, sort = addon.Spec.RestoreTasks, "restore"
	}
	var mistakes []Mistake
	for i, reference := range info.Tasks {
		at := fmt.Sprintf("%s.tasks[%d]", field, i)
		found := slices.IndexFunc(tasks, func(t v1alpha1.Task) bool { return t.Name == reference.Name })
		if found < 0 {
			mistakes = append(mistakes, Mistake{Field: at + ".name", Reason: v1alpha1.ReasonTaskNotFound,
				Message: fmt.Sprintf("the Addon %q has no %s task %q; it has %s", addon.Name, sort, reference.Name, taskNames(tasks))})
			continue
		}
		mistakes = append(mistakes, parameterMistakes(at+".params", &tasks[found], &reference)...)
	}
	return mistakes
}

// TaskFunctions are the names of the Functions that info's tasks need, without those of tasks that do not exist.
func TaskFunctions(addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool) []string {
	tasks := addon.Spec.BackupTasks
	if restore {
		tasks = addon.Spec.RestoreTasks
	}
	var names []string
	for _, reference := range info.Tasks {
		if i := slices.IndexFunc(tasks, func(t v1alpha1.Task) bool { return t.Name == reference.Name }); i >= 0 {
			names = append(names, tasks[i].Function)
		}
	}
	return names
}

func taskNames(tasks []v1alpha1.Task) string {
	names := make([]string, len(tasks))
	for i := range tasks {
		names[i] = tasks[i].Name
	}
	return join(names)
}

func parameterMistakes(field string, task *v1alpha1.Task, reference *v1alpha1.TaskReference) []Mistake {
	params := map[string]any{}
	if reference.Params != nil && len(reference.Params.Raw) > 0 {
		if err := json.Unmarshal(reference.Params.Raw, &params); err != nil {
			return []Mistake{{Field: field, Reason: v1alpha1.ReasonInvalidParameters, Message: "params is a map of names to strings"}}
		}
	}
	var mistakes []Mistake
	add := func(field, format string, args ...any) {
		mistakes = append(mistakes, Mistake{Field: field, Reason: v1alpha1.ReasonInvalidParameters, Message: fmt.Sprintf(format, args...)})
	}
	names := make([]string, 0, len(params))
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	declared := make([]string, len(task.Parameters))
	for i := range task.Parameters {
		declared[i] = task.Parameters[i].Name
	}
	for _, name := range names {
		if !slices.Contains(declared, name) {
			add(field+"."+name, "the task %q has no parameter %q; it has %s", task.Name, name, join(declared))
		} else if _, ok := params[name].(string); !ok {
			add(field+"."+name, "the value of the parameter %q is not a string: put it in quotes", name)
		}
	}
	for _, parameter := range task.Parameters {
		if _, ok := params[parameter.Name]; parameter.Required && !ok {
			add(field, "the task %q needs the parameter %q", task.Name, parameter.Name)
		}
	}
	return mistakes
}
