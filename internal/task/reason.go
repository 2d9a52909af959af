package task

import (
	"regexp"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// IsReason reports whether a text can be one of the API's reasons. A mover can report any text.
func IsReason(text string) bool { return reasonPattern.MatchString(text) }

var reasonPattern = regexp.MustCompile(`^[A-Z][A-Za-z]{0,62}$`)

// ReasonOfFailure returns the reason with which a mover says that it failed. It is Failed if the text of the mover is
// not a reason, or is Succeeded.
func ReasonOfFailure(text string) string {
	if !IsReason(text) || text == v1alpha1.ReasonSucceeded {
		return v1alpha1.ReasonFailed
	}
	return text
}

// reasonOf returns the reason with which a mover reports an outcome. Without a reason it is empty.
func reasonOf(outcome Outcome, text string) string {
	switch {
	case text == "", outcome == OutcomeSucceeded && !IsReason(text):
		return ""
	case outcome == OutcomeSucceeded:
		return text
	default:
		return ReasonOfFailure(text)
	}
}
