package hook

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

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
