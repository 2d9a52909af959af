package access

import (
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// Error explains why a namespace cannot work with a storage. Trying again alone does not help: it takes a
// change of policy, of a Secret, of a Namespace or of the storage.
type Error struct {
	// Reason is a constant of the API.
	Reason string
	// Message says what to do. It holds names, never values.
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// ReasonOf returns the reason and message of an *Error in err's chain.
func ReasonOf(err error) (reason, message string, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return "", "", false
	}
	return e.Reason, e.Message, true
}

// Privilege turns the error of a Job that was not built for lack of the Namespace's consent into an *Error.
func Privilege(err error) error {
	if errors.Is(err, moverjob.ErrPrivilegeRequired) {
		return &Error{Reason: v1alpha1.ReasonPrivilegeRequired, Message: err.Error()}
	}
	return err
}

func refuse(reason, format string, args ...any) error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
