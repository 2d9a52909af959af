package access

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// EnsureCredentials gives the names of the Secrets in namespace that a Job of owner reads to work with storage and with a
// repository that encryption belongs to. A Secret of the namespace itself is used as it is. Of one in the storage's
// namespace, its own keys alone are copied into <jobBaseName>-storage or <jobBaseName>-encryption, owned by owner and gone
// with it, provided that the storage's usagePolicy allows namespace now. An encryption reference without a namespace means
// namespace; one without a name means that no repository is worked with. What policy or a user must mend comes back as
// *Error.
func EnsureCredentials(ctx context.Context, c client.Client, owner client.Object, namespace string, storage *v1alpha1.BackupStorage, encryption v1alpha1.ObjectReference, jobBaseName string) (task.Credentials, error) {
	if err := Allowed(ctx, c, storage, namespace); err != nil {
		return task.Credentials{}, err
	}
	key, err := storageSecret(ctx, c, storage)
	if err != nil {
		return task.Credentials{}, err
	}
	password, passwordKey, err := encryptionSecret(ctx, c, namespace, storage, encryption)
	if err != nil {
		return task.Credentials{}, err
	}
	var out task.Credentials
	if key != nil {
		if out.StorageSecret, err = provide(ctx, c, owner, namespace, key, jobBaseName+storageSuffix, policy.SecretOf(storage.Spec.Storage).Keys()...); err != nil {
			return task.Credentials{}, err
		}
	}
	if password != nil {
		if out.EncryptionSecret, err = provide(ctx, c, owner, namespace, password, jobBaseName+encryptionSuffix, passwordKey); err != nil {
			return task.Credentials{}, err
		}
	}
	return out, nil
}

// Digest identifies the Secrets that EnsureCredentials would read, and tells with an *Error that one of them can't be used.
// It is made from their UIDs and versions, never from their content: a digest of a password helps to guess it.
func Digest(ctx context.Context, c client.Reader, namespace string, storage *v1alpha1.BackupStorage, encryption v1alpha1.ObjectReference) (string, error) {
	key, err := storageSecret(ctx, c, storage)
	if err != nil {
		return "", err
	}
	password, _, err := encryptionSecret(ctx, c, namespace, storage, encryption)
	if err != nil {
		return "", err
	}
	return versionOf(key, password), nil
}

// versionOf identifies Secrets, some of which may be nil, as they are now.
func versionOf(secrets ...*corev1.Secret) string {
	versions := make([]string, len(secrets))
	for i, s := range secrets {
		if s != nil {
			versions[i] = string(s.UID) + "/" + s.ResourceVersion
		}
	}
	return policy.Digest(versions)
}

// RemoveCopies removes what EnsureCredentials copied for jobBaseName.
func RemoveCopies(ctx context.Context, c client.Client, namespace, jobBaseName string) error {
	for _, name := range []string{jobBaseName + storageSuffix, jobBaseName + encryptionSuffix} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		if err := client.IgnoreNotFound(c.Delete(ctx, s)); err != nil {
			return fmt.Errorf("delete secret %s/%s: %w", namespace, name, err)
		}
	}
	return nil
}

// What is added to a Job's name for its copied Secrets.
const (
	storageSuffix    = "-storage"
	encryptionSuffix = "-encryption"
)

// storageSecret reads the storage's Secret, nil where it names none. One that is absent or lacks a key is an *Error.
func storageSecret(ctx context.Context, c client.Reader, storage *v1alpha1.BackupStorage) (*corev1.Secret, error) {
	named := policy.SecretOf(storage.Spec.Storage)
	if named.Name == "" {
		return nil, nil
	}
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: storage.Namespace, Name: named.Name}
	switch err := c.Get(ctx, key, &secret); {
	case apierrors.IsNotFound(err):
		return nil, refuse(v1alpha1.ReasonBackendSecretNotAvailable, "there is no Secret %s, which BackupStorage %s names", key, storage.Name)
	case err != nil:
		return nil, fmt.Errorf("get secret %s: %w", key, err)
	}
	if missing := named.Missing(func(k string) int { return len(secret.Data[k]) }); missing != "" {
		return nil, refuse(v1alpha1.ReasonBackendSecretNotAvailable, "Secret %s lacks %s", key, missing)
	}
	return &secret, nil
}

// encryptionSecret reads the Secret with the repository's password and says under which key it is. Without a name there is
// none to read. In another namespace it must say itself that it may be used.
func encryptionSecret(ctx context.Context, c client.Reader, namespace string, storage *v1alpha1.BackupStorage, encryption v1alpha1.ObjectReference) (secret *corev1.Secret, dataKey string, err error) {
	key := client.ObjectKey{Namespace: encryption.Namespace, Name: encryption.Name}
	if key.Name == "" {
		return nil, "", nil
	}
	if key.Namespace == "" {
		key.Namespace = namespace
	}
	if !slices.Contains([]string{namespace, storage.Namespace}, key.Namespace) {
		return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable, "encryption Secret %s must be in namespace %s or in that of the storage, %s", key, namespace, storage.Namespace)
	}
	secret = &corev1.Secret{}
	switch err := c.Get(ctx, key, secret); {
	case apierrors.IsNotFound(err):
		return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable, "there is no encryption Secret %s", key)
	case err != nil:
		return nil, "", fmt.Errorf("get secret %s: %w", key, err)
	}
	if key.Namespace != namespace && secret.Annotations[v1alpha1.AnnotationShared] != "true" {
		// Else whoever may use the storage could read every Secret of its namespace that has such a key.
		return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable, "encryption Secret %s is not shared with namespace %s: annotate it with %s=true", key, namespace, v1alpha1.AnnotationShared)
	}
	for _, k := range []string{v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword} {
		if len(secret.Data[k]) > 0 {
			return secret, k, nil
		}
	}
	return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable, "encryption Secret %s has neither %s nor %s", key, v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword)
}

// only copies the keys that are there.
func only(data map[string][]byte, keys ...string) map[string][]byte {
	out := map[string][]byte{}
	for _, k := range keys {
		if v, ok := data[k]; ok {
			out[k] = v
		}
	}
	return out
}

// provide gives the name of a Secret in namespace that holds the keys: from itself, or a copy that owner owns.
func provide(ctx context.Context, c client.Client, owner client.Object, namespace string, from *corev1.Secret, name string, keys ...string) (string, error) {
	if from.Namespace == namespace {
		return from.Name, nil
	}
	gvk, err := c.GroupVersionKindFor(owner)
	if err != nil {
		return "", fmt.Errorf("find kind of owner of secret %s: %w", name, err)
	}
	if owner.GetNamespace() != namespace {
		return "", fmt.Errorf("apply secret %s/%s: its owner is in namespace %s", namespace, name, owner.GetNamespace())
	}
	secret := corev1ac.Secret(name, namespace).
		WithLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(gvk.GroupVersion().String()).WithKind(gvk.Kind).
			WithName(owner.GetName()).WithUID(owner.GetUID()).WithController(true).WithBlockOwnerDeletion(true)).
		WithType(corev1.SecretTypeOpaque).
		WithData(only(from.Data, keys...))
	if err := c.Apply(ctx, secret, client.FieldOwner(FieldManager), client.ForceOwnership); err != nil {
		return "", fmt.Errorf("apply secret %s/%s: %w", namespace, name, err)
	}
	return name, nil
}
