package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Builtin holds the values that every template has, by name. An empty value is not known in this run: using its name
// without a default is an error. A run without targetName has several targets.
type Builtin map[string]string

// DefaultTimeout is the timeout of an attempt if the hook names none.
const DefaultTimeout = 10 * time.Minute

// BackupSessionName is the built-in variable with the name of the run.
const BackupSessionName = "backupSession"

// builtinNames are the reserved names, which parameters and variables can't use.
var builtinNames = []string{
	"namespace", BackupSessionName, "restoreSession", "invokerKind", "invokerName", "session", "targetKind",
	"targetName",
}

// MayCome reports whether the missing object for which a hook was refused can still arrive with the policy.
func MayCome(reason string) bool {
	return reason == v1alpha1.ReasonHookTemplateNotFound || reason == v1alpha1.ReasonFunctionNotFound
}

// Mistake is something in a HookTemplate or its use that can't work.
type Mistake struct {
	// Field is a field of the HookInfo, for example params.user.
	Field string
	// Message says what is wrong and what to do.
	Message string
}

// Resolve freezes a hook with its template. It fills in parameters and values, and leaves values from Secrets and
// ConfigMaps as references. A hook with mistakes can't be run. The zero Container is for executors of other types than
// Function. With type Function it checks everything but the Function, and the result can't be run either.
func Resolve(
	info *v1alpha1.HookInfo, template *v1alpha1.HookTemplate, builtin Builtin, of Container,
) (v1alpha1.ResolvedHook, []Mistake) {
	r := resolver{info: info, template: template, of: of, values: map[string]string{}, later: map[string]bool{}}
	for name, value := range builtin {
		if value != "" {
			r.values[name] = value
		}
	}
	if builtin["targetName"] == "" && usesTargetPods(template.Spec.Executor) {
		r.add("hookTemplate",
			"the HookTemplate %q names no pods, but the session has several targets: set executor.pod.selector or "+
				"executor.pod.owner", template.Name)
	}
	r.params()
	r.variables()
	if template.Spec.Executor.Type == v1alpha1.HookExecutorFunction {
		r.function()
	} else {
		r.noFunction()
		r.dryRun(builtin)
	}
	if len(r.mistakes) > 0 {
		return v1alpha1.ResolvedHook{}, r.mistakes
	}
	return r.frozen(), nil
}

type resolver struct {
	info     *v1alpha1.HookInfo
	template *v1alpha1.HookTemplate
	of       Container
	values   map[string]string
	// frozenFunction is the frozen Function.
	frozenFunction *v1alpha1.ResolvedFunction
	// later holds the names whose values are read when the hook runs.
	later    map[string]bool
	mistakes []Mistake
}

func (r *resolver) add(field, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{Field: field, Message: fmt.Sprintf(format, args...)})
}

// params fills in the parameters that the template declares.
func (r *resolver) params() {
	given := map[string]any{}
	if p := r.info.Params; p != nil && len(p.Raw) > 0 {
		if err := json.Unmarshal(p.Raw, &given); err != nil {
			r.add("params", "params must be a map of names to strings")
			return
		}
	}
	var declared []string
	for _, p := range r.template.Spec.Params {
		declared = append(declared, p.Name)
		if slices.Contains(builtinNames, p.Name) {
			r.add("hookTemplate",
				"the HookTemplate %q declares the parameter %q, which is the name of a built-in variable: rename it",
				r.template.Name, p.Name)
		}
		value, isSet := given[p.Name]
		text, isString := value.(string)
		switch {
		case isSet && !isString:
			r.add("params."+p.Name, "the value of the parameter %q is not a string: put it in quotes", p.Name)
		case p.Required && text == "":
			r.add("params", "the HookTemplate %q needs the parameter %q", r.template.Name, p.Name)
		case !isSet:
			text = p.Default
		}
		r.values[p.Name] = text
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(declared, name) {
			r.add("params."+name, "the HookTemplate %q has no parameter %q; it has: %s", r.template.Name, name,
				list(declared))
		}
	}
}

func (r *resolver) variables() {
	for i, v := range r.info.Variables {
		field := fmt.Sprintf("variables[%d].name", i)
		switch _, taken := r.values[v.Name]; {
		case slices.Contains(builtinNames, v.Name):
			r.add(field, "%q is the name of a built-in variable: rename the variable", v.Name)
		case taken || r.later[v.Name]:
			r.add(field, "the name %q is taken by a parameter or another variable: rename the variable", v.Name)
		case v.ValueFrom != nil:
			r.later[v.Name] = true
		default:
			r.values[v.Name] = v.Value
		}
	}
}

// dryRun fills in the template with what is known, to find what can't be filled in.
func (r *resolver) dryRun(builtin Builtin) {
	secret := map[string]bool{}
	for _, v := range r.info.Variables {
		secret[v.Name] = v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil
	}
	values := func(command bool) lookup {
		return func(name string) (string, error) {
			value, known := r.values[name]
			_, builtIn := builtin[name]
			switch {
			case known || r.later[name] && !(command && secret[name]):
				return value, nil
			case r.later[name]:
				return "", errors.New(
					"comes from a Secret and would appear in a command, which process lists and the API server's " +
						"audit log show: use the container's own environment, or a request")
			case builtIn:
				return "", errAbsent
			default:
				return "", errUnknown
			}
		}
	}
	f := filler{values: values(false), command: values(true)}
	action := f.action(r.template.Spec.Action)
	if pod := r.template.Spec.Executor.Pod; pod != nil {
		if selector, err := f.text(pod.Selector); err != nil {
			f.failed("executor.pod.selector", err)
		} else if len(r.later) == 0 {
			if _, err := parseSelector(selector); err != nil {
				f.failed("executor.pod.selector", err)
			}
		}
	}
	for _, m := range f.mistakes {
		r.add("hookTemplate", "the HookTemplate %q: %s: %s", r.template.Name, m.Field, m.Message)
	}
	if len(f.mistakes) == 0 && len(r.later) == 0 {
		if message := portMistake(action); message != "" {
			r.add("hookTemplate", "the HookTemplate %q: %s", r.template.Name, message)
		}
	}
}

// frozen returns the hook with its values, ordered by name.
func (r *resolver) frozen() v1alpha1.ResolvedHook {
	out := v1alpha1.ResolvedHook{
		Name:     r.info.Name,
		Template: v1alpha1.ObjectReference{Namespace: r.template.Namespace, Name: r.template.Name},
		Action:   r.template.Spec.Action.DeepCopy(), Executor: *r.template.Spec.Executor.DeepCopy(),
		Function: r.frozenFunction,
		MaxRetry: r.info.MaxRetry, Timeout: r.info.Timeout, ExecutionPolicy: r.info.ExecutionPolicy,
	}
	if out.Timeout == nil {
		out.Timeout = &metav1.Duration{Duration: DefaultTimeout}
	}
	if out.ExecutionPolicy == "" {
		out.ExecutionPolicy = v1alpha1.HookAlways
	}
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		out.Values = append(out.Values, v1alpha1.HookValue{Name: name, Value: r.values[name]})
	}
	for _, v := range r.info.Variables {
		if v.ValueFrom != nil {
			out.Variables = append(out.Variables, *v.DeepCopy())
		}
	}
	return out
}

// usesTargetPods reports whether the executor uses the pods of the target, because it names none itself.
func usesTargetPods(e *v1alpha1.HookExecutor) bool {
	return e.Type == v1alpha1.HookExecutorPod &&
		(e.Pod == nil || strings.TrimSpace(e.Pod.Selector) == "" && e.Pod.Owner == nil)
}

// portMistake says what is wrong with the port of an action, or returns "".
func portMistake(a *v1alpha1.HookAction) string {
	port := portOf(a)
	switch {
	case port == nil:
		return ""
	case port.Type == intstr.Int && (port.IntVal < 1 || port.IntVal > 65535):
		return fmt.Sprintf("the port %d is not between 1 and 65535", port.IntVal)
	case port.Type == intstr.String && a.ContainerName == "":
		return fmt.Sprintf("the port %q is the name of a container's port: set containerName", port.StrVal)
	default:
		return ""
	}
}

func portOf(a *v1alpha1.HookAction) *intstr.IntOrString {
	switch {
	case a == nil:
		return nil
	case a.HTTPGet != nil:
		return &a.HTTPGet.Port
	case a.HTTPPost != nil:
		return &a.HTTPPost.Port
	case a.TCPSocket != nil:
		return &a.TCPSocket.Port
	default:
		return nil
	}
}

// parseSelector parses "key=value, key=value". Every part must have this form.
func parseSelector(text string) (map[string]string, error) {
	out := map[string]string{}
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	for _, part := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" || strings.ContainsAny(key+value, "=! ") {
			return nil, fmt.Errorf("%.64q is not key=value: write the selector as \"key=value, key=value\"",
				strings.TrimSpace(part))
		}
		out[key] = value
	}
	return out, nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
