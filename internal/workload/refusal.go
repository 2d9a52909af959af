package workload

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Fail returns the reason why a target cannot be resolved.
func Fail(reason, format string, args ...any) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
