package task

import (
	"fmt"
	"strings"
)

// Variables of a Function beside its task's parameters. A value that is empty is not available: naming it without a
// default is an error.
type Variables struct {
	MoverImage     string
	Namespace      string
	BackupSession  string
	RestoreSession string
	// Snapshot is known only where the task writes into one repository.
	Snapshot    string
	InvokerKind string
	InvokerName string
	TargetKind  string
	TargetName  string
}

// byName gives the variables as a Function writes them.
func (v Variables) byName() map[string]string {
	return map[string]string{
		"moverImage":     v.MoverImage,
		"namespace":      v.Namespace,
		"backupSession":  v.BackupSession,
		"restoreSession": v.RestoreSession,
		"snapshot":       v.Snapshot,
		"invokerKind":    v.InvokerKind,
		"invokerName":    v.InvokerName,
		"targetKind":     v.TargetKind,
		"targetName":     v.TargetName,
	}
}

// values are what ${name} stands for: built-in variables, which must not be empty, and parameters, which may be.
type values struct {
	builtin map[string]string
	params  map[string]string
}

// expand replaces ${name}, ${name:=default} and ${name:-default} in text. What was put in is not looked at again, so that
// a parameter's value can't name a variable.
func (v values) expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("%q is not closed by }", "${"+rest)
		}
		value, err := v.lookup(inner)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = after
	}
}

// lookup gives the value of name, name:=default or name:-default.
func (v values) lookup(inner string) (string, error) {
	end := strings.IndexFunc(inner, func(r rune) bool { return !nameRune(r) })
	name, fallback, hasFallback := inner, "", false
	if end >= 0 {
		name = inner[:end]
		fallback, hasFallback = strings.CutPrefix(inner[end:], ":=")
		if !hasFallback {
			fallback, hasFallback = strings.CutPrefix(inner[end:], ":-")
		}
		if !hasFallback {
			return "", fmt.Errorf("${%s} is none of ${name}, ${name:=default} and ${name:-default}", inner)
		}
	}
	value, param := v.params[name]
	if !param {
		builtin, known := v.builtin[name]
		if !known {
			return "", fmt.Errorf("${%s} is neither a variable nor a parameter of the task", name)
		}
		value = builtin
	}
	switch {
	case value != "":
		return value, nil
	case hasFallback:
		return fallback, nil
	case param:
		return "", nil
	}
	return "", fmt.Errorf("${%s} is not known here", name)
}

// nameRune says whether a variable's name may hold r.
func nameRune(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
