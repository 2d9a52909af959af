package catalog

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/variables"
)

// unmetRequirements finds parameters of a task that have a value while a parameter that they require has none. values
// are those of the task's mover, so that values of the Addon or the target count like those of the policy. A value of
// only commas and blanks is an empty list. field is the path of the task.
func unmetRequirements(field string, task *v1alpha1.Task, values variables.Values) []policy.Mistake {
	has := func(name string) bool {
		value, _ := values.Value(name)
		return len(variables.List(value)) > 0
	}
	var mistakes []policy.Mistake
	for _, p := range task.Parameters {
		if !has(p.Name) {
			continue
		}
		for _, needed := range p.Requires {
			if !has(needed) {
				mistakes = append(mistakes, invalidParameter(field+".params."+p.Name,
					"the parameter %q needs the parameter %q, which has no value: set it, or leave %q out", p.Name,
					needed, p.Name))
			}
		}
	}
	return mistakes
}

// requirementMistakes is unmetRequirements with the values that are known before the task runs.
func requirementMistakes(
	field string, task *v1alpha1.Task, reference *v1alpha1.TaskReference, builtin variables.Builtin,
) []policy.Mistake {
	values, err := stepValues(task, MoverStep(task), reference, builtin)
	if err != nil {
		return nil // FunctionMistakes reports it.
	}
	return unmetRequirements(field, task, values)
}

// undeclaredRequirements finds requirements of an Addon's parameters that no policy can meet.
func undeclaredRequirements(field string, task *v1alpha1.Task) []policy.Mistake {
	var mistakes []policy.Mistake
	for i, p := range task.Parameters {
		for j, needed := range p.Requires {
			if needed == p.Name || !declares(task, needed) {
				mistakes = append(mistakes, invalidParameter(fmt.Sprintf("%s.parameters[%d].requires[%d]", field, i, j),
					"%q is not another parameter of the task %q", needed, task.Name))
			}
		}
	}
	return mistakes
}
