package movers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/task"
)

// Means are what a mover needs besides its task.
type Means struct {
	// Storage that it works with.
	Storage v1alpha1.BackupStorage
	// Credentials for it.
	Credentials task.Credentials
	// Privileged says whether the namespace allows movers that run as root.
	Privileged bool
}

// Provide makes sure that a mover of owner finds its account and credentials in the owner's namespace. Whether it may have
// them is asked each time; what a user must mend is an error that RefusalOf knows. secrets is the beginning of the names of
// Secrets that are copied.
func Provide(ctx context.Context, c client.Client, owner client.Object, repository v1alpha1.ResolvedRepository, secrets string) (Means, error) {
	var out Means
	namespace := owner.GetNamespace()
	key := client.ObjectKey{Namespace: repository.StorageRef.Namespace, Name: repository.StorageRef.Name}
	if err := c.Get(ctx, key, &out.Storage); apierrors.IsNotFound(err) {
		return out, Refuse(v1alpha1.ReasonStorageNotFound, "there is no BackupStorage %s", key)
	} else if err != nil {
		return out, fmt.Errorf("get backup storage %s: %w", key, err)
	}
	err := access.EnsureMover(ctx, c, namespace)
	if err != nil {
		return out, err
	}
	if out.Credentials, err = access.EnsureCredentials(ctx, c, owner, namespace, &out.Storage, repository.EncryptionSecret, secrets); err != nil {
		return out, err
	}
	out.Privileged, err = access.Privileged(ctx, c, namespace)
	return out, err
}

// Refuse is an error that no repetition mends: it ends what it is about.
func Refuse(reason, format string, args ...any) error {
	return &access.Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Rejected makes a refusal of an error that says that the API server will never take what was written: it is not valid, or
// too large. Any other error stays what it is.
func Rejected(err error) error {
	if apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) || err != nil && strings.Contains(err.Error(), "request is too large") {
		return Refuse(v1alpha1.ReasonInvalidTask, "the API server does not take it: %v", err)
	}
	return err
}

// RefusalOf tells such an error from one that may pass, of which it gives nil.
func RefusalOf(err error) *v1alpha1.ResolvedError {
	if reason, message, ok := access.ReasonOf(err); ok {
		return &v1alpha1.ResolvedError{Reason: reason, Message: message}
	}
	if errors.Is(err, task.ErrPrivilegeRequired) {
		return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonPrivilegeRequired, Message: err.Error()}
	}
	return nil
}
