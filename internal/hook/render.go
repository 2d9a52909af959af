package hook

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/variables"
)

// Rendered is what a hook does, with everything filled in.
type Rendered struct {
	// Action is the action of the hook.
	Action *v1alpha1.HookAction
	// Selector selects the pods of the hook by their labels.
	Selector map[string]string
}

// Render fills in the values of a frozen hook, together with later, the values that were read just now. An error never
// contains a value of later.
func Render(h *v1alpha1.ResolvedHook, later map[string]string, summary Summary) (Rendered, error) {
	values := map[string]string{}
	for _, v := range h.Values {
		values[v.Name] = v.Value
	}
	for name, value := range later {
		values[name] = value
	}
	find := func(name string) (string, error) {
		value, known := values[name]
		if known {
			return value, nil
		}
		for _, b := range builtinNames {
			if b == name {
				return "", errAbsent
			}
		}
		return "", errUnknown
	}
	f := filler{values: find, command: find, summary: &summary}
	out := Rendered{Action: f.action(h.Action)}
	if pod := h.Executor.Pod; pod != nil {
		text, err := f.text(pod.Selector)
		if err == nil {
			out.Selector, err = parseSelector(text)
		}
		f.failed("executor.pod.selector", err)
	}
	if message := portMistake(out.Action); message != "" {
		f.failed("action", errors.New(message))
	}
	if len(f.mistakes) > 0 {
		m := f.mistakes[0]
		return Rendered{}, errors.New(Redact(fmt.Sprintf(
			"HookTemplate %s: %s: %s", h.Template.Name, m.Field, m.Message), later))
	}
	return out, nil
}

// Pods describes the pods among which a frozen hook chooses, filled in as far as that is possible without the values
// that are read when it runs: two hooks with the same description choose among the same pods. targets are those of the
// hook, whose pods it uses if it names none. Pods returns "" for a hook that acts in no pod.
func Pods(h *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference) string {
	if h.Executor.Type == v1alpha1.HookExecutorOperator || h.Function != nil {
		return ""
	}
	pod := ptr.Deref(h.Executor.Pod, v1alpha1.HookPodExecutor{})
	selector := strings.TrimSpace(pod.Selector)
	if selector == "" && pod.Owner == nil {
		if len(targets) != 1 {
			return "" // Such a hook fails.
		}
		return fmt.Sprintf("target %q", targets)
	}
	if parsed, known := selectorOf(h); known {
		selector = labels.FormatLabels(parsed) // in one order
	}
	owner, controller := ptr.Deref(pod.Owner, v1alpha1.HookPodOwner{}), "any"
	if owner.Controller != nil {
		controller = strconv.FormatBool(*owner.Controller)
	}
	return fmt.Sprintf("selector %q owner %q", selector,
		[]string{owner.APIVersion, owner.Kind, owner.Name, owner.UID, controller})
}

// MayChoose reports whether a frozen hook can choose pods that are made from a template with these labels, as far as
// that is known without the values that are read when it runs. A label that the template lacks can come later: the
// controller of a StatefulSet gives its pods one with their name, and Patroni one with their role. targets are those of
// Pods.
func MayChoose(
	h *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference, template map[string]string,
) bool {
	if Pods(h, targets) == "" {
		return false
	}
	selector, known := selectorOf(h)
	return !known || !labels.Conflicts(selector, template)
}

// Chooses reports whether a frozen hook is meant for pods that are made from a template with these labels: its selector
// has one of them. MayChoose is wider: a selector of labels that the template lacks can be for other pods.
func Chooses(
	h *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference, template map[string]string,
) bool {
	if !MayChoose(h, targets, template) {
		return false
	}
	selector, _ := selectorOf(h)
	for key := range selector {
		if _, has := template[key]; has {
			return true
		}
	}
	return len(selector) == 0
}

// selectorOf returns the selector of the pods of a frozen hook. It is not known if it needs values that are read when
// the hook runs.
func selectorOf(h *v1alpha1.ResolvedHook) (selector map[string]string, known bool) {
	find := func(name string) (string, error) {
		for _, v := range h.Values {
			if v.Name == name {
				return v.Value, nil
			}
		}
		return "", errUnknown
	}
	text, err := expand(strings.TrimSpace(ptr.Deref(h.Executor.Pod, v1alpha1.HookPodExecutor{}).Selector), find)
	if err != nil {
		return nil, false
	}
	selector, err = parseSelector(text)
	return selector, err == nil
}

// Redact replaces the values of secrets in a text that people read.
func Redact(text string, secrets map[string]string) string {
	for _, value := range secrets {
		for _, form := range []string{value, strconv.Quote(value), strings.TrimSpace(value)} {
			if len(form) >= 3 {
				text = strings.ReplaceAll(text, form, "***")
			}
		}
	}
	return text
}

// filler fills in an action and collects what can't be filled in. Without a summary it only checks templates.
type filler struct {
	values, command lookup
	summary         *Summary
	mistakes        []Mistake
}

func (f *filler) failed(field string, err error) {
	if err != nil {
		f.mistakes = append(f.mistakes, Mistake{Field: field, Message: err.Error()})
	}
}

// lookup returns the value of a name, or errUnknown or errAbsent if there is none.
type lookup func(name string) (string, error)

var (
	errUnknown = &variables.Missing{Says: "is neither a parameter nor a variable"}
	errAbsent  = &variables.Missing{Known: true, Says: "is not known in this kind of run"}
)

// expand fills in a text that a shell can read.
func expand(text string, values lookup) (string, error) {
	return variables.Expander{Value: values, Shell: true}.Expand(text)
}

func (f *filler) text(s string) (string, error) { return expand(s, f.values) }

// set fills in one text of an action.
func (f *filler) set(field string, s *string) {
	text, err := f.text(*s)
	f.failed(field, err)
	*s = text
}

// template fills in one text that can be a Go template.
func (f *filler) template(field string, s *string, values lookup) {
	var err error
	if !strings.Contains(*s, "{{") {
		*s, err = expand(*s, values)
	} else {
		*s, err = execute(*s, values, f.summary)
	}
	f.failed(field, err)
}

func (f *filler) action(in *v1alpha1.HookAction) *v1alpha1.HookAction {
	if in == nil {
		return nil
	}
	a := in.DeepCopy()
	f.set("action.containerName", &a.ContainerName)
	if a.Exec != nil {
		for i := range a.Exec.Command {
			f.template(fmt.Sprintf("action.exec.command[%d]", i), &a.Exec.Command[i], f.command)
		}
	}
	if a.HTTPGet != nil {
		f.request("action.httpGet", a.HTTPGet)
	}
	if p := a.HTTPPost; p != nil {
		f.request("action.httpPost", &p.HookHTTPGetAction)
		f.template("action.httpPost.body", &p.Body, f.values)
		for i := range p.Form {
			for j := range p.Form[i].Values {
				f.set(fmt.Sprintf("action.httpPost.form[%d].values[%d]", i, j), &p.Form[i].Values[j])
			}
		}
	}
	if s := a.TCPSocket; s != nil {
		f.set("action.tcpSocket.host", &s.Host)
		f.port("action.tcpSocket.port", &s.Port)
	}
	return a
}

func (f *filler) request(field string, r *v1alpha1.HookHTTPGetAction) {
	f.set(field+".host", &r.Host)
	f.set(field+".path", &r.Path)
	f.port(field+".port", &r.Port)
	for i := range r.HTTPHeaders {
		f.set(fmt.Sprintf("%s.httpHeaders[%d].value", field, i), &r.HTTPHeaders[i].Value)
	}
}

// port fills in a port. A result that is a number is not taken as the name of a port.
func (f *filler) port(field string, port *intstr.IntOrString) {
	if port.Type != intstr.String {
		return
	}
	f.set(field, &port.StrVal)
	*port = intstr.Parse(port.StrVal)
}
