package variables

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Values holds the values of ${name}. The zero value knows no name.
type Values struct {
	builtin map[string]string
	// set holds the values of an Addon or a policy, which can be empty.
	set map[string]string
	// environment holds the names that are known only in a container's environment.
	environment map[string]bool
}

// New returns only the built-in variables.
func New(b Builtin) Values { return Values{builtin: b.byName()} }

// With adds values. They override the existing ones.
func (v Values) With(set map[string]string) Values {
	merged := make(map[string]string, len(v.set)+len(set))
	maps.Copy(merged, v.set)
	maps.Copy(merged, set)
	v.set = merged
	return v
}

// WithEnv adds variables. They override the existing ones. A variable with valueFrom is known only in the container.
func (v Values) WithEnv(env []corev1.EnvVar) Values {
	set, environment := map[string]string{}, maps.Clone(v.environment)
	if environment == nil {
		environment = map[string]bool{}
	}
	for _, e := range env {
		delete(environment, e.Name)
		if e.ValueFrom != nil {
			environment[e.Name] = true
			continue
		}
		set[e.Name] = e.Value
	}
	v = v.With(set)
	v.environment = environment
	return v
}

// Value returns the value of a name, and whether it is known.
func (v Values) Value(name string) (string, bool) {
	if value, ok := v.set[name]; ok {
		return value, true
	}
	value := v.builtin[name]
	return value, value != ""
}

// Expand fills in ${name}, ${name:=default}, ${name:-default} and ${name=default}.
func (v Values) Expand(text string) (string, error) {
	return Expander{Value: v.lookup}.Expand(text)
}

// expandArgument is Expand for strings that the kubelet expands again: the command, the arguments and the environment
// of a container. A $ of a value stays a $, and $(name) in the template is a variable of the environment.
func (v Values) expandArgument(text string) (string, error) {
	return Expander{
		Value: v.lookup,
		Quote: func(value string) string { return strings.ReplaceAll(value, "$", "$$") },
	}.Expand(text)
}

// lookup returns the value of a name for an Expander.
func (v Values) lookup(name string) (string, error) {
	if v.environment[name] {
		return "", fmt.Errorf("has valueFrom, which only the container knows: write $(%s) in command, args or env",
			name)
	}
	if value, known := v.Value(name); known {
		return value, nil
	}
	if _, builtin := v.builtin[name]; builtin {
		return "", &Missing{Known: true, Says: fmt.Sprintf("has no value here: give it a default as in ${%s:=}", name)}
	}
	return "",
		&Missing{Says: "is neither a built-in variable, nor a parameter of the task, nor a variable of the policy"}
}
