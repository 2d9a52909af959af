package variables

import (
	"errors"
	"fmt"
	"strings"
)

// Expander fills in ${name}, ${name:=default}, ${name:-default} and ${name=default}. What was put in is not looked at again, so that
// a value can't name a variable.
type Expander struct {
	// Value of a name. Its error is a Missing where the name has none, which a default helps.
	Value func(name string) (string, error)
	// Quote changes what is put in; nil leaves it as it is.
	Quote func(value string) string
	// Shell is for texts that a shell may read: $${ stands for ${, and a name that nobody knows is an error also where it has a
	// default, so that no variable of the shell is taken for one of ours.
	Shell bool
}

// Missing is the error for a name without a value.
type Missing struct {
	// Known says that there is such a name.
	Known bool
	// Says is what is said after the name.
	Says string
}

// Error says it.
func (m *Missing) Error() string { return m.Says }

// Expand fills text in.
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

// value of what stands between ${ and }.
func (e Expander) value(inner string) (string, error) {
	name, fallback, operator, ok := parse(inner)
	if !ok {
		return "", fmt.Errorf("${%.64s} is none of ${name}, ${name:=default}, ${name:-default} and ${name=default}%s", inner, e.hint(inner))
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

// hint says how a variable of a shell is written.
func (e Expander) hint(inner string) string {
	if !e.Shell {
		return ""
	}
	return fmt.Sprintf("; write $${%.64s} for a shell's own", inner)
}

// quoted keeps what is quoted in a message short.
func quoted(s string) string { return fmt.Sprintf("%.64q", s) }

// parse takes name, name:=default, name:-default or name=default apart.
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

// nameRune says whether a variable's name may hold r.
func nameRune(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
