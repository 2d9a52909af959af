package variables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// eachValue is the name of the variable that stands for one value of a list.
const eachValue = "value"

// maxStreamArguments is the bound of ResolvedStream.args in the API.
const maxStreamArguments = 1024

// List splits a comma-separated list. It drops blanks around values, and empty values.
func List(text string) []string {
	var out []string
	for _, value := range strings.Split(text, ",") {
		if value = strings.TrimSpace(value); value != "" {
			out = append(out, value)
		}
	}
	return out
}

// Each returns the values of a stream's list.
func (v Values) Each(s *v1alpha1.FunctionStream) ([]string, error) {
	text, err := v.Expand(s.Each)
	if err != nil {
		return nil, fmt.Errorf("stream.each: %w", err)
	}
	return List(text), nil
}

// Stream fills in a stream for one value of its list; "" stands for everything. The result is how the program starts,
// except for what depends on the keys of a Secret.
func (v Values) Stream(s *v1alpha1.FunctionStream, value string) (*v1alpha1.ResolvedStream, error) {
	v = v.With(map[string]string{eachValue: value})
	s = s.DeepCopy()
	out := &v1alpha1.ResolvedStream{
		Env: s.Env, Files: s.Files, FileName: s.FileName, Filter: s.Filter, Format: s.Format,
	}
	if value != "" && s.EachFormat != "" {
		out.Format = s.EachFormat
	}
	var err error
	if out.Command, out.Args, err = v.program(s.Command, s.EachCommand, arguments(s, value), value); err != nil {
		return nil, fmt.Errorf("stream.%w", err)
	}
	if s.Probe != nil {
		out.Probe = &v1alpha1.ResolvedProbe{}
		if out.Probe.Command, out.Probe.Args, err = v.program(s.Probe.Command, s.Probe.EachCommand, s.Probe.Args,
			value); err != nil {
			return nil, fmt.Errorf("stream.probe.%w", err)
		}
		if out.Probe.Refuse, err = v.refusals(s.Probe.Refuse); err != nil {
			return nil, err
		}
	}
	if out.SearchPath, err = v.Expand(s.SearchPath); err != nil {
		return nil, fmt.Errorf("stream.searchPath: %w", err)
	}
	if out.Scope, err = v.scope(s); err != nil {
		return nil, fmt.Errorf("stream.selects: %w", err)
	}
	if out.DataDirectory, err = v.Expand(s.DataDirectory); err != nil {
		return nil, fmt.Errorf("stream.dataDirectory: %w", err)
	}
	if s.Finish != nil {
		out.Finish = &v1alpha1.ResolvedProgram{}
		if out.Finish.Command, out.Finish.Args, err = v.program(s.Finish.Command, nil, s.Finish.Args,
			value); err != nil {
			return nil, fmt.Errorf("stream.finish.%w", err)
		}
	}
	for i := range out.Env {
		if out.Env[i].Value, err = v.Expand(out.Env[i].Value); err != nil {
			return nil, fmt.Errorf("stream.env[%d].value: %w", i, err)
		}
	}
	for i := range out.Files {
		if out.Files[i].Content, err = v.Expand(out.Files[i].Content); err != nil {
			return nil, fmt.Errorf("stream.files[%d].content: %w", i, err)
		}
	}
	return out, nil
}

// scope identifies what a stream selects. It is a part of every dump in a repository: another way to write the same
// would make the dump after an upgrade the first one, with nothing to compare it with. What is empty does not count, so
// a Function can list more later.
func (v Values) scope(s *v1alpha1.FunctionStream) (string, error) {
	if len(s.Selects) == 0 {
		return "", nil
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q", s.FileName)
	for _, template := range s.Selects {
		value, err := v.Expand(template)
		if err != nil {
			return "", err
		}
		if values := List(value); len(values) > 0 {
			fmt.Fprintf(sum, "\x00%q\x00%q", template, values)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// arguments returns the arguments of a stream's program.
func arguments(s *v1alpha1.FunctionStream, value string) []v1alpha1.StreamArgument {
	if value == "" {
		return s.Args
	}
	return slices.Concat(s.EachArgs, s.Args)
}

// program fills in a command and its arguments.
func (v Values) program(
	command, each []string, args []v1alpha1.StreamArgument, value string,
) ([]string, []v1alpha1.ResolvedStreamArgument, error) {
	if value != "" && len(each) > 0 {
		command = each
	}
	words := make([]string, len(command))
	var err error
	for i := range command {
		if words[i], err = v.Expand(command[i]); err != nil {
			return nil, nil, fmt.Errorf("command[%d]: %w", i, err)
		}
	}
	if words[0] == "" {
		return nil, nil, fmt.Errorf("command[0]: the program is empty")
	}
	var out []v1alpha1.ResolvedStreamArgument
	for i, a := range args {
		values, err := v.argument(a)
		if err != nil {
			return nil, nil, fmt.Errorf("args[%d].%w", i, err)
		}
		for _, text := range values {
			out = append(out, v1alpha1.ResolvedStreamArgument{Value: text, IfKey: a.IfKey})
		}
	}
	if len(out) > maxStreamArguments {
		return nil, nil, fmt.Errorf("args: %d arguments are too many, at most %d are possible", len(out),
			maxStreamArguments)
	}
	return words, out, nil
}

// refusals returns those refusals that hold. Its error names the parameter that is wrong, if it is one.
func (v Values) refusals(all []v1alpha1.StreamRefusal) ([]v1alpha1.ResolvedRefusal, error) {
	var out []v1alpha1.ResolvedRefusal
	for i, r := range all {
		unless, err := v.Expand(r.Unless)
		if err != nil {
			return nil, fmt.Errorf("stream.probe.refuse[%d].unless: %w", i, err)
		}
		switch unless {
		case "", "false":
			out = append(out, v1alpha1.ResolvedRefusal{Prefix: r.Prefix, Message: r.Message})
		case "true":
		default:
			where := fmt.Sprintf("stream.probe.refuse[%d].unless", i)
			if name := v.alone(r.Unless); name != "" {
				where = "parameter " + name
			}
			return nil, fmt.Errorf("%s: write \"true\" or \"false\", not %.64q", where, unless)
		}
	}
	return out, nil
}

// alone returns the name of the parameter whose value is all of a text, or "".
func (v Values) alone(text string) string {
	inner, variable := strings.CutPrefix(text, "${")
	inner, closed := strings.CutSuffix(inner, "}")
	name, _, _, ok := parse(inner)
	if !variable || !closed || !ok || v.set[name] == "" {
		return ""
	}
	return name
}

// argument expands an argument to none, one or several.
func (v Values) argument(a v1alpha1.StreamArgument) ([]string, error) {
	if a.Each != "" {
		text, err := v.Expand(a.Each)
		if err != nil {
			return nil, fmt.Errorf("each: %w", err)
		}
		var out []string
		for _, one := range List(text) {
			value, err := v.With(map[string]string{eachValue: one}).Expand(a.Value)
			if err != nil {
				return nil, fmt.Errorf("value: %w", err)
			}
			out = append(out, value)
		}
		return out, nil
	}
	text, err := v.Expand(a.Value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("value: %w", err)
	case a.Words:
		words, err := words(text)
		if err != nil {
			return nil, fmt.Errorf("value %q: %w", text, err)
		}
		return words, nil
	case text == "":
		return nil, nil
	}
	return []string{text}, nil
}
