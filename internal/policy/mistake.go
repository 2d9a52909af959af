package policy

import "strings"

// Mistake is one thing in an object that cannot work.
type Mistake struct {
	// Field with the mistake, for example spec.sessions[0].targets[2].name.
	Field string
	// Reason is a constant of the API package.
	Reason string
	// Message explains what is wrong and what to do, without the field.
	Message string
}

// InvalidError holds all mistakes of one object, in the order of its fields.
type InvalidError struct {
	Mistakes []Mistake
}

// Error returns every mistake with its field, joined by semicolons.
func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		parts[i] = m.Field + ": " + m.Message
	}
	return strings.Join(parts, "; ")
}

// asError returns an *InvalidError, or nil if there are no mistakes.
func asError(mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	return &InvalidError{Mistakes: mistakes}
}

// Join lists names in a sentence.
func Join(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
