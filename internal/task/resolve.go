package task

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// FunctionLookup gives the Function of a name, nil where there is none. A caller whose lookup can fail otherwise keeps the
// error and looks at it before it looks at what Resolve returned.
type FunctionLookup func(name string) *v1alpha1.Function

// Resolve fills in everything of a task that a policy and its variables say: image and arguments of the Function, and the
// values of all parameters that the task declares, defaults included. addon may be nil, which is the error that it does not
// exist. Mistakes come back as ResolvedError; the other results are empty then.
func Resolve(addon *v1alpha1.Addon, functions FunctionLookup, info v1alpha1.AddonInfo, restore bool, vars Variables) (v1alpha1.ResolvedTask, map[string]string, *v1alpha1.ResolvedError) {
	fail := func(reason, format string, args ...any) (v1alpha1.ResolvedTask, map[string]string, *v1alpha1.ResolvedError) {
		return v1alpha1.ResolvedTask{}, nil, &v1alpha1.ResolvedError{Reason: reason, Message: cut(fmt.Sprintf(format, args...), 2048)}
	}
	if addon == nil {
		return fail(v1alpha1.ReasonAddonNotFound, "there is no Addon %q", info.Name)
	}
	task, ref, err := findTask(addon, info, restore)
	if err != nil {
		return fail(v1alpha1.ReasonTaskNotFound, "%v", err)
	}
	function := functions(task.Function)
	if function == nil {
		return fail(v1alpha1.ReasonFunctionNotFound, "there is no Function %q, which task %q of Addon %q names", task.Function, task.Name, addon.Name)
	}
	v := values{builtin: vars.byName()}
	if v.params, err = parameters(task, ref.Params, v.builtin); err != nil {
		return fail(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: %v", task.Name, addon.Name, err)
	}
	out := v1alpha1.ResolvedTask{
		Addon: addon.Name, Task: task.Name, Function: function.Name, Driver: task.Driver,
	}
	if out.Driver == "" {
		out.Driver = v1alpha1.DriverKopia
	}
	if info.JobTemplate != nil {
		out.Job = info.JobTemplate.Spec.DeepCopy()
	}
	if out.Image, err = v.expand(function.Spec.Image); err != nil {
		return fail(v1alpha1.ReasonInvalidParameters, "image of Function %q: %v", function.Name, err)
	}
	for _, arg := range function.Spec.Args {
		value, err := v.expand(arg)
		if err != nil {
			return fail(v1alpha1.ReasonInvalidParameters, "args of Function %q: %v", function.Name, err)
		}
		out.Args = append(out.Args, value)
	}
	return out, v.params, nil
}

// findTask gives the task that info names and the reference to it.
func findTask(addon *v1alpha1.Addon, info v1alpha1.AddonInfo, restore bool) (*v1alpha1.Task, *v1alpha1.TaskReference, error) {
	if len(info.Tasks) != 1 {
		return nil, nil, fmt.Errorf("one task of Addon %q must be named", addon.Name)
	}
	tasks, kind := addon.Spec.BackupTasks, "backup"
	if restore {
		tasks, kind = addon.Spec.RestoreTasks, "restore"
	}
	ref := &info.Tasks[0]
	var names []string
	for i := range tasks {
		if tasks[i].Name == ref.Name {
			return &tasks[i], ref, nil
		}
		names = append(names, tasks[i].Name)
	}
	return nil, nil, fmt.Errorf("addon %q has no %s task %q (it has: %s)", addon.Name, kind, ref.Name, strings.Join(names, ", "))
}

// parameters gives the value of every parameter that the task declares. All mistakes are told at once.
func parameters(task *v1alpha1.Task, given *apiextensionsv1.JSON, builtin map[string]string) (map[string]string, error) {
	set := map[string]string{}
	if given != nil && len(given.Raw) > 0 && string(given.Raw) != "null" {
		var raw map[string]any
		if err := json.Unmarshal(given.Raw, &raw); err != nil {
			return nil, fmt.Errorf("params is not an object: %w", err)
		}
		for name, value := range raw {
			text, ok := value.(string)
			if !ok {
				return nil, fmt.Errorf("parameter %q is not a string: put it into quotes", name)
			}
			set[name] = text
		}
	}
	out, declared, mistakes := map[string]string{}, []string(nil), []string(nil)
	for _, p := range task.Parameters {
		declared = append(declared, p.Name)
		if _, clash := builtin[p.Name]; clash {
			mistakes = append(mistakes, fmt.Sprintf("parameter %q has the name of a built-in variable", p.Name))
		}
		value, isSet := set[p.Name]
		if p.Required && value == "" {
			mistakes = append(mistakes, fmt.Sprintf("parameter %q is required", p.Name))
		}
		if !isSet {
			value = p.Default
		}
		out[p.Name] = value
		delete(set, p.Name)
	}
	for name := range set {
		mistakes = append(mistakes, fmt.Sprintf("there is no parameter %q (there are: %s)", name, strings.Join(declared, ", ")))
	}
	if len(mistakes) > 0 {
		slices.Sort(mistakes)
		return nil, fmt.Errorf("%s", strings.Join(mistakes, "; "))
	}
	return out, nil
}
