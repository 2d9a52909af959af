package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/variables"
)

// RequirementMistakes says which parameters of a task have a value while one that they require has none. values are those of the
// task's mover, so that what an Addon or the target itself supplies counts as what a policy says. What is only commas and blanks is
// an empty list. field is where the task is named.
func RequirementMistakes(field string, task *v1alpha1.Task, values variables.Values) []Mistake {
	has := func(name string) bool {
		value, _ := values.Value(name)
		return len(variables.List(value)) > 0
	}
	var mistakes []Mistake
	for _, p := range task.Parameters {
		if !has(p.Name) {
			continue
		}
		for _, needed := range p.Requires {
			if !has(needed) {
				mistakes = append(mistakes, invalidParameter(field+".params."+p.Name,
					"the parameter %q goes with the parameter %q, which has no value: give it one, or leave %q out", p.Name, needed, p.Name))
			}
		}
	}
	return mistakes
}

// requirementMistakes is RequirementMistakes for what is known before the task runs.
func requirementMistakes(field string, task *v1alpha1.Task, reference *v1alpha1.TaskReference, builtin variables.Builtin) []Mistake {
	values, err := StepValues(task, MoverStep(task), reference, builtin)
	if err != nil {
		return nil // FunctionMistakes says so.
	}
	return RequirementMistakes(field, task, values)
}

// undeclaredRequirements are those of an Addon's parameters that no policy could fulfil.
func undeclaredRequirements(field string, task *v1alpha1.Task) []Mistake {
	var mistakes []Mistake
	for i, p := range task.Parameters {
		for j, needed := range p.Requires {
			if needed == p.Name || !declares(task, needed) {
				mistakes = append(mistakes, invalidParameter(fmt.Sprintf("%s.parameters[%d].requires[%d]", field, i, j),
					"%q is no other parameter of the task %q", needed, task.Name))
			}
		}
	}
	return mistakes
}
