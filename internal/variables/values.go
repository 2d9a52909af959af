package variables

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Values are what ${name} stands for. The zero value knows no name.
type Values struct {
	builtin map[string]string
	// set by an Addon or a policy; these may be empty.
	set map[string]string
	// environment holds the names that only a container's environment knows.
	environment map[string]bool
}

// New gives the built-in variables alone.
func New(b Builtin) Values { return Values{builtin: b.byName()} }

// With adds values, which come before those that were there.
func (v Values) With(set map[string]string) Values {
	merged := make(map[string]string, len(v.set)+len(set))
	maps.Copy(merged, v.set)
	maps.Copy(merged, set)
	v.set = merged
	return v
}

// WithEnv adds variables, which come before what was there. One with valueFrom is known to the container alone.
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

// Value gives what a name stands for, and whether it is known.
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

// ExpandArgument is Expand for what the kubelet looks at again: the command, the arguments and the environment of a container. A
// $ of a value stays a $ there, and $(name) in the template is a variable of the environment.
func (v Values) ExpandArgument(text string) (string, error) {
	return Expander{Value: v.lookup, Quote: func(value string) string { return strings.ReplaceAll(value, "$", "$$") }}.Expand(text)
}

// lookup gives the value of a name to an Expander.
func (v Values) lookup(name string) (string, error) {
	if v.environment[name] {
		return "", fmt.Errorf("has valueFrom, which only the container knows: write $(%s) in command, args or env", name)
	}
	if value, known := v.Value(name); known {
		return value, nil
	}
	if _, builtin := v.builtin[name]; builtin {
		return "", &Missing{Known: true, Says: fmt.Sprintf("has no value here: give it a default as in ${%s:=}", name)}
	}
	return "", &Missing{Says: "is neither a built-in variable, nor a parameter of the task, nor a variable of the policy"}
}
