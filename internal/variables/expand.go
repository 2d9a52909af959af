package variables

import (
	"errors"
	"fmt"
	"strings"
)

// Expander fills in ${name}, ${name:=default}, ${name:-default} and ${name=default}. It does not expand the values
// again, so a value cannot name a variable.
type Expander struct {
	// Value returns the value of a name. Its error is a Missing if the name has no value, for which a default can stand
	// in.
	Value func(name string) (string, error)
	// Quote changes each value before it is filled in; nil leaves it as it is.
	Quote func(value string) string
	// Shell is for texts that a shell can read: $${ stands for ${, and an unknown name is an error even with a default,
	// so that no variable of the shell is taken for one of ours.
	Shell bool
}

// Missing is the error for a name without a value.
type Missing struct {
	// Known reports that the name exists.
	Known bool
	// Says is the rest of the message, after the name.
	Says string
}

// Error returns the message.
func (m *Missing) Error() string { return m.Says }

// Expand fills in the variables of text.
func (e Expander) Expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			out.WriteString(before)
			return out.String(), nil
		}
		if literal, escaped := strings.CutSuffix(before, "$"); escaped && e.Shell {
			out.WriteString(literal + "${")
			text = rest
			continue
		}
		out.WriteString(before)
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("%s is not closed by }", quoted("${"+inner))
		}
		value, err := e.value(inner)
		if err != nil {
			return "", err
		}
		if e.Quote != nil {
			value = e.Quote(value)
		}
		out.WriteString(value)
		text = after
	}
}

// value returns the value of the text between ${ and }.
func (e Expander) value(inner string) (string, error) {
	name, fallback, operator, ok := parse(inner)
	if !ok {
		return "",
			fmt.Errorf("invalid variable ${%.64s}, want ${name}, ${name:=default}, ${name:-default} or "+
				"${name=default}%s", inner, e.hint(inner))
	}
	value, err := e.Value(name)
	var missing *Missing
	switch {
	case err == nil && (value != "" || operator == "" || operator == "="):
		return value, nil
	case err == nil, errors.As(err, &missing) && operator != "" && (missing.Known || !e.Shell):
		return fallback, nil
	case missing != nil && !missing.Known:
		return "", fmt.Errorf("${%.64s} %w%s", name, err, e.hint(name))
	default:
		return "", fmt.Errorf("${%.64s} %w", name, err)
	}
}

// hint explains how to write a variable of a shell.
func (e Expander) hint(inner string) string {
	if !e.Shell {
		return ""
	}
	return fmt.Sprintf("; write $${%.64s} for a variable of the shell", inner)
}

// quoted shortens and quotes a text for a message.
func quoted(s string) string { return fmt.Sprintf("%.64q", s) }

// parse splits name, name:=default, name:-default or name=default.
func parse(inner string) (name, fallback, operator string, ok bool) {
	end := strings.IndexFunc(inner, func(r rune) bool { return !nameRune(r) })
	if end < 0 {
		return inner, "", "", true
	}
	for _, operator := range []string{":=", ":-", "="} {
		if fallback, found := strings.CutPrefix(inner[end:], operator); found && end > 0 {
			return inner[:end], fallback, operator, true
		}
	}
	return "", "", "", false
}

// nameRune reports whether the name of a variable can contain r.
func nameRune(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
