package backupsession

import (
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/task"
)

// refuse is an error that no repetition mends: it ends what it is about.
func refuse(reason, format string, args ...any) error {
	return &access.Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// refusalOf tells such an error from one that may pass.
func refusalOf(err error) (*v1alpha1.ResolvedError, bool) {
	if reason, message, ok := access.ReasonOf(err); ok {
		return &v1alpha1.ResolvedError{Reason: reason, Message: message}, true
	}
	if errors.Is(err, task.ErrPrivilegeRequired) {
		return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonPrivilegeRequired, Message: err.Error()}, true
	}
	return nil, false
}
