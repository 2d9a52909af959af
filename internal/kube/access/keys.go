package access

import (
	"context"
	"maps"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Keys are the credentials that a mover needs for one repository, for a Secret that the manager fills itself.
type Keys struct {
	// Storage holds the provider's keys, Encryption the password under its key.
	Storage, Encryption map[string][]byte
	// Version changes whenever a Secret behind the keys changes: see Digest.
	Version string
}

// ReadKeys reads the keys that EnsureCredentials would give to a Job in namespace, after the same checks. Problems that
// policy or a user must solve come back as *Error.
func ReadKeys(
	ctx context.Context, c client.Reader, namespace string, storage *v1alpha1.BackupStorage,
	encryption v1alpha1.ObjectReference,
) (Keys, error) {
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
