package movers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// MoverAccess is what a mover needs besides its task.
type MoverAccess struct {
	// Storage is the BackupStorage that the mover works with.
	Storage v1alpha1.BackupStorage
	// Credentials are those of the BackupStorage.
	Credentials moverjob.Credentials
	// Privileged reports whether the namespace allows movers that run as root.
	Privileged bool
}

// ProvideAccess makes sure that a mover of owner finds its ServiceAccount and credentials in the owner's namespace. It
// checks each time whether the mover is allowed to have them. An error that a user must fix is one that RefusalOf
// recognises. secrets is the prefix of the names of copied Secrets.
func ProvideAccess(
	ctx context.Context, c client.Client, owner client.Object, repository v1alpha1.ResolvedRepository, secrets string,
) (MoverAccess, error) {
	var out MoverAccess
	namespace := owner.GetNamespace()
	key := client.ObjectKey{Namespace: repository.StorageRef.Namespace, Name: repository.StorageRef.Name}
	if err := c.Get(ctx, key, &out.Storage); apierrors.IsNotFound(err) {
		return out, Refuse(v1alpha1.ReasonStorageNotFound, "there is no BackupStorage %s", key)
	} else if err != nil {
		return out, fmt.Errorf("get BackupStorage %s: %w", key, err)
	}
	err := access.EnsureMover(ctx, c, namespace)
	if err != nil {
		return out, err
	}
	out.Credentials, err = access.EnsureCredentials(ctx, c, owner, namespace, &out.Storage,
		repository.EncryptionSecret, secrets)
	if err != nil {
		return out, err
	}
	out.Privileged, err = access.Privileged(ctx, c, namespace)
	return out, err
}

// Refuse returns an error that no repetition can fix. It ends what it is about.
func Refuse(reason, format string, args ...any) error {
	return &access.Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// AsRefusal turns an error into a refusal if the API server will never accept the object, because it is invalid or too
// large. It returns any other error unchanged.
func AsRefusal(err error) error {
	if apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) || err != nil &&
		strings.Contains(err.Error(), "request is too large") {
		return Refuse(v1alpha1.ReasonInvalidTask, "the API server refused it: %v", err)
	}
	return err
}

// Refusals explains why things can never be made, by the names under which a decision looks for them.
type Refusals map[string]*v1alpha1.ResolvedError

// Add adds the refusal that err carries under name, and logs it. It returns any other error, and a second refusal under
// the same name: the decision did not heed the first.
func (r Refusals) Add(ctx context.Context, name string, err error) error {
	refusal := RefusalOf(err)
	if refusal == nil || name == "" || r[name] != nil {
		return err
	}
	r.Set(ctx, name, refusal)
	return nil
}

// Set adds a refusal under name, and logs it if there was none.
func (r Refusals) Set(ctx context.Context, name string, refusal *v1alpha1.ResolvedError) {
	if r[name] == nil {
		logf.FromContext(ctx).Info("refused", "name", name, "reason", refusal.Reason, "message", refusal.Message)
	}
	r[name] = refusal
}

// RefusalOf returns the refusal that err carries, or nil for an error that can pass.
func RefusalOf(err error) *v1alpha1.ResolvedError {
	if reason, message, ok := access.ReasonOf(err); ok {
		return &v1alpha1.ResolvedError{Reason: reason, Message: message}
	}
	if errors.Is(err, moverjob.ErrPrivilegeRequired) {
		return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonPrivilegeRequired, Message: err.Error()}
	}
	return nil
}
