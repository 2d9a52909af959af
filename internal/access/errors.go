package access

import (
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
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

// Privilege makes an *Error of a Job that was not built for want of the Namespace's consent.
func Privilege(err error) error {
	if errors.Is(err, task.ErrPrivilegeRequired) {
		return &Error{Reason: v1alpha1.ReasonPrivilegeRequired, Message: err.Error()}
	}
	return err
}

func refuse(reason, format string, args ...any) error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
