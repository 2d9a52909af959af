// Package catalog defines what Addons, Functions, tasks, streams and parameters mean: which task a session runs, with
// which arguments, and what is wrong with them. It is pure: its functions keep no state and are safe for concurrent
// use.
package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/variables"
)

// FindTask returns the task of an Addon with the name, or nil. A name in CamelCase, as older policies of KubeStash have
// it, stands for the name with dashes.
func FindTask(addon *v1alpha1.Addon, name string, restore bool) *v1alpha1.Task {
	tasks := tasksOf(addon, restore)
	for _, alias := range []string{name, dashed(name)} {
		if i := slices.IndexFunc(tasks, func(t v1alpha1.Task) bool { return t.Name == alias }); i >= 0 {
			return &tasks[i]
		}
	}
	return nil
}

func tasksOf(addon *v1alpha1.Addon, restore bool) []v1alpha1.Task {
	if restore {
		return addon.Spec.RestoreTasks
	}
	return addon.Spec.BackupTasks
}

// dashed turns LogicalBackup into logical-backup.
func dashed(name string) string {
	var out strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			out.WriteByte('-')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// TaskSteps returns the steps of a task, the mover last.
func TaskSteps(t *v1alpha1.Task) []v1alpha1.TaskStep {
	if len(t.Steps) > 0 {
		return t.Steps
	}
	return []v1alpha1.TaskStep{{Name: t.Function}}
}

// MoverStep returns the step of a task that moves the data.
func MoverStep(t *v1alpha1.Task) v1alpha1.TaskStep {
	steps := TaskSteps(t)
	return steps[len(steps)-1]
}

// TaskMistakes checks a policy's settings for an Addon against the Addon: the task exists, its parameters are declared,
// required parameters are there, all values are strings, and the policy is allowed to set the variables and volumes.
// field is the path of info. With restore true, the tasks are restore tasks.
func TaskMistakes(field string, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool) []policy.Mistake {
	sort := "backup"
	if restore {
		sort = "restore"
	}
	var mistakes []policy.Mistake
	for i, reference := range info.Tasks {
		at := fmt.Sprintf("%s.tasks[%d]", field, i)
		found := FindTask(addon, reference.Name, restore)
		if found == nil {
			mistakes = append(mistakes, policy.Mistake{
				Field: at + ".name", Reason: v1alpha1.ReasonTaskNotFound,
				Message: fmt.Sprintf("the Addon %q has no %s task %q; it has %s", addon.Name, sort, reference.Name,
					taskNames(tasksOf(addon, restore))),
			})
			continue
		}
		mistakes = append(mistakes, parameterMistakes(at+".params", found, &reference)...)
		mistakes = append(mistakes, variableMistakes(at+".variables", &reference)...)
		mistakes = append(mistakes, taskVolumeMistakes(at, found, &reference)...)
		if t := reference.TargetVolumes; !restore && t != nil && len(t.VolumeClaimTemplates) > 0 {
			mistakes = append(mistakes, invalidTask(at+".targetVolumes.volumeClaimTemplates",
				"a backup makes no claims: use volumeClaimTemplates only in a RestoreSession"))
		}
	}
	return append(mistakes, podMistakes(field, info)...)
}

// TaskFunctions returns the names of the Functions that info's tasks need. It skips tasks that do not exist.
func TaskFunctions(addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool) []string {
	var names []string
	for _, reference := range info.Tasks {
		found := FindTask(addon, reference.Name, restore)
		if found == nil {
			continue
		}
		for _, step := range TaskSteps(found) {
			if !slices.Contains(names, step.Name) {
				names = append(names, step.Name)
			}
		}
	}
	return names
}

func taskNames(tasks []v1alpha1.Task) string {
	names := make([]string, len(tasks))
	for i := range tasks {
		names[i] = tasks[i].Name
	}
	return policy.Join(names)
}

// stepValues returns the values of ${name} in one step of a task. Later ones override earlier ones: built-in variables,
// the Addon's defaults, the step's own parameters, the policy's parameters, the policy's variables. Undeclared
// parameters are ignored.
func stepValues(
	t *v1alpha1.Task, step v1alpha1.TaskStep, reference *v1alpha1.TaskReference, builtin variables.Builtin,
) (variables.Values, error) {
	builtin.TaskName = t.Name
	given, _ := ParamsOf(reference.Params)
	defaults, set := map[string]string{}, map[string]string{}
	for _, p := range t.Parameters {
		defaults[p.Name] = p.Default
		if value, ok := given[p.Name].(string); ok {
			set[p.Name] = value
		}
	}
	values := variables.New(builtin).With(defaults)
	outer := values.With(set).WithEnv(reference.Variables)
	own := map[string]string{}
	for _, p := range step.Params {
		if variables.IsFixed(p.Name) {
			return variables.Values{}, fmt.Errorf("parameter %q of step %q is a variable that nobody can set", p.Name,
				step.Name)
		}
		value, err := outer.Expand(p.Value)
		if err != nil {
			return variables.Values{}, fmt.Errorf("parameter %q of step %q: %w", p.Name, step.Name, err)
		}
		own[p.Name] = value
	}
	return values.With(own).With(set).WithEnv(reference.Variables), nil
}

// ParamsOf decodes the params of a task. Without params the map is empty.
func ParamsOf(raw *apiextensionsv1.JSON) (map[string]any, error) {
	params := map[string]any{}
	if raw == nil || len(raw.Raw) == 0 {
		return params, nil
	}
	return params, json.Unmarshal(raw.Raw, &params)
}

func parameterMistakes(field string, task *v1alpha1.Task, reference *v1alpha1.TaskReference) []policy.Mistake {
	params, err := ParamsOf(reference.Params)
	if err != nil {
		return []policy.Mistake{{
			Field: field, Reason: v1alpha1.ReasonInvalidParameters,
			Message: "params must be a map of names to strings",
		}}
	}
	var mistakes []policy.Mistake
	add := func(field, format string, args ...any) {
		mistakes = append(mistakes, policy.Mistake{
			Field: field, Reason: v1alpha1.ReasonInvalidParameters,
			Message: fmt.Sprintf(format, args...),
		})
	}
	declared := make([]string, len(task.Parameters))
	for i := range task.Parameters {
		declared[i] = task.Parameters[i].Name
		if variables.IsFixed(declared[i]) {
			add(field, "the task %q declares the parameter %q, which is a variable that nobody can set: rename the "+
				"parameter in the Addon", task.Name, declared[i])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if !slices.Contains(declared, name) {
			add(field+"."+name, "the task %q has no parameter %q; it has %s", task.Name, name, policy.Join(declared))
		} else if _, ok := params[name].(string); !ok {
			add(field+"."+name, "the value of the parameter %q is not a string: put it in quotes", name)
		} else if name == paramScratchDir {
			if _, why := scratchMount(task, params[name].(string)); why != "" {
				add(field+"."+name, "%s", why)
			}
		} else if name == ParamContentDeletionPolicy && task.Driver == v1alpha1.DriverVolumeSnapshotter {
			if why := ContentDeletionMistake(params[name].(string)); why != "" {
				add(field+"."+name, "%s", why)
			}
		}
	}
	for _, parameter := range task.Parameters {
		value, given := params[parameter.Name]
		byVariable := slices.ContainsFunc(variablesOf(reference),
			func(name string) bool { return name == parameter.Name })
		if parameter.Required && !byVariable && (!given || value == "") {
			add(field, "the task %q needs the parameter %q", task.Name, parameter.Name)
		}
	}
	return mistakes
}

func variablesOf(reference *v1alpha1.TaskReference) []string {
	names := make([]string, len(reference.Variables))
	for i := range reference.Variables {
		names[i] = reference.Variables[i].Name
	}
	return names
}
