package access

import (
	"errors"
	"fmt"
)

// Error is why a namespace can't work with a storage. Waiting does not mend it; a change of policy, of a Secret or of a
// Namespace does.
type Error struct {
	// Reason is one of the API's.
	Reason string
	// Message says what to do. It holds names, never values.
	Message string
}

// Error gives the message.
func (e *Error) Error() string { return e.Message }

// ReasonOf gives the reason and message of an *Error in err's chain.
func ReasonOf(err error) (reason, message string, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return "", "", false
	}
	return e.Reason, e.Message, true
}

func refuse(reason, format string, args ...any) error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
