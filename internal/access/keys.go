package access

import (
	"context"
	"maps"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Keys are what a mover needs to work with one repository, for a Secret that the manager fills itself.
type Keys struct {
	// Storage are the provider's keys, Encryption the one with the password.
	Storage, Encryption map[string][]byte
	// Version changes with them: see Digest.
	Version string
}

// ReadKeys reads the same keys that EnsureCredentials would give a Job in namespace, after the same questions. What policy
// or a user must mend comes back as *Error.
func ReadKeys(ctx context.Context, c client.Reader, namespace string, storage *v1alpha1.BackupStorage, encryption v1alpha1.ObjectReference) (Keys, error) {
	if err := Allowed(ctx, c, storage, namespace); err != nil {
		return Keys{}, err
	}
	key, err := storageSecret(ctx, c, storage)
	if err != nil {
		return Keys{}, err
	}
	password, passwordKey, err := encryptionSecret(ctx, c, namespace, storage, encryption)
	if err != nil {
		return Keys{}, err
	}
	out := Keys{Storage: map[string][]byte{}, Encryption: map[string][]byte{}, Version: versionOf(key, password)}
	if key != nil {
		maps.Copy(out.Storage, only(key.Data, policy.SecretOf(storage.Spec.Storage).Keys()...))
	}
	if password != nil {
		maps.Copy(out.Encryption, only(password.Data, passwordKey))
	}
	return out, nil
}
