package access

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// EnsureCredentials returns the names of the Secrets in namespace from which a Job of owner reads the credentials of
// storage and the password of a repository. It uses a Secret of namespace as it is. From a Secret in the storage's
// namespace it copies only the needed keys into <jobBaseName>-storage or <jobBaseName>-encryption, provided that the
// storage's usagePolicy allows namespace now; owner owns the copies and they go with it. A Secret of such a name that
// Cairn did not make is never touched. An encryption reference
// without a namespace means namespace; one without a name means that the Job works with no repository. Problems that
// policy or a user must solve come back as *Error.
func EnsureCredentials(
	ctx context.Context, c client.Client, owner client.Object, namespace string, storage *v1alpha1.BackupStorage,
	encryption v1alpha1.ObjectReference, jobBaseName string,
) (moverjob.Credentials, error) {
	if err := Allowed(ctx, c, storage, namespace); err != nil {
		return moverjob.Credentials{}, err
	}
	key, err := storageSecret(ctx, c, storage)
	if err != nil {
		return moverjob.Credentials{}, err
	}
	password, passwordKey, err := encryptionSecret(ctx, c, namespace, storage, encryption, owner)
	if err != nil {
		return moverjob.Credentials{}, err
	}
	var out moverjob.Credentials
	if key != nil {
		if out.StorageSecret, err = provide(ctx, c, owner, namespace, key, jobBaseName+storageSuffix,
			policy.SecretOf(storage.Spec.Storage).Keys()...); err != nil {
			return moverjob.Credentials{}, err
		}
	}
	if password != nil {
		if out.EncryptionSecret, err = provide(ctx, c, owner, namespace, password, jobBaseName+encryptionSuffix,
			passwordKey); err != nil {
			return moverjob.Credentials{}, err
		}
	}
	return out, nil
}

// Digest identifies the Secrets that EnsureCredentials would read, and returns an *Error if one of them cannot be used.
// It covers their UIDs and resource versions, never their content: a digest of a password would help to guess it.
func Digest(
	ctx context.Context, c client.Reader, namespace string, storage *v1alpha1.BackupStorage,
	encryption v1alpha1.ObjectReference,
) (string, error) {
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

// versionOf identifies the present versions of Secrets, some of which can be nil.
func versionOf(secrets ...*corev1.Secret) string {
	versions := make([]string, len(secrets))
	for i, s := range secrets {
		if s != nil {
			versions[i] = string(s.UID) + "/" + s.ResourceVersion
		}
	}
	return policy.Digest(versions)
}

// RemoveCopies deletes the Secrets that EnsureCredentials copied for jobBaseName and that owner controls. A Secret of
// such a name that somebody else made stays.
func RemoveCopies(
	ctx context.Context, c client.Client, owner metav1.OwnerReference, namespace, jobBaseName string,
) error {
	for _, name := range []string{jobBaseName + storageSuffix, jobBaseName + encryptionSuffix} {
		if err := removeCopy(ctx, c, owner, client.ObjectKey{Namespace: namespace, Name: name}); err != nil {
			return err
		}
	}
	return nil
}

func removeCopy(ctx context.Context, c client.Client, owner metav1.OwnerReference, key client.ObjectKey) error {
	s := &metav1.PartialObjectMetadata{}
	s.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := c.Get(ctx, key, s); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("get Secret %s: %w", key, err)
	}
	of := metav1.GetControllerOf(s)
	if of == nil || of.UID != owner.UID || of.Kind != owner.Kind || of.Name != owner.Name {
		return nil
	}
	if err := client.IgnoreNotFound(c.Delete(ctx, s, client.Preconditions{UID: &s.UID})); err != nil {
		return fmt.Errorf("delete Secret %s: %w", key, err)
	}
	return nil
}

// Suffixes of copied Secrets, appended to the Job's name.
const (
	storageSuffix    = "-storage"
	encryptionSuffix = "-encryption"
)

// storageSecret reads the storage's Secret, or returns nil where the storage names none. A Secret that is absent,
// lacks a key, or lacks the label that a PolicySync demands, is an *Error.
func storageSecret(ctx context.Context, c client.Reader, storage *v1alpha1.BackupStorage) (*corev1.Secret, error) {
	named := policy.SecretOf(storage.Spec.Storage)
	if named.Name == "" {
		return nil, nil
	}
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: storage.Namespace, Name: named.Name}
	switch err := c.Get(ctx, key, &secret); {
	case apierrors.IsNotFound(err):
		return nil, refuse(v1alpha1.ReasonBackendSecretNotAvailable,
			"there is no Secret %s, which BackupStorage %s names", key, storage.Name)
	case err != nil:
		return nil, fmt.Errorf("get Secret %s: %w", key, err)
	}
	if missing := named.Missing(func(k string) int { return len(secret.Data[k]) }); missing != "" {
		return nil, refuse(v1alpha1.ReasonBackendSecretNotAvailable, "Secret %s lacks %s", key, missing)
	}
	if err := MayUseSecret(ctx, c, &secret, storage); err != nil {
		return nil, err
	}
	return &secret, nil
}

// encryptionSecret reads the Secret with the repository's password and returns the key that holds it. It returns nil
// where the reference has no name. A Secret of another namespace must carry an annotation that shares it. by are
// objects for which it is used, see MayUseSecret.
func encryptionSecret(
	ctx context.Context, c client.Reader, namespace string, storage *v1alpha1.BackupStorage,
	encryption v1alpha1.ObjectReference, by ...client.Object,
) (secret *corev1.Secret, dataKey string, err error) {
	key := encryption.In(namespace)
	if key.Name == "" {
		return nil, "", nil
	}
	if !slices.Contains([]string{namespace, storage.Namespace}, key.Namespace) {
		return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable,
			"encryption Secret %s must be in namespace %s or in that of the storage, %s", key, namespace,
			storage.Namespace)
	}
	secret = &corev1.Secret{}
	switch err := c.Get(ctx, key, secret); {
	case apierrors.IsNotFound(err):
		return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable, "there is no encryption Secret %s", key)
	case err != nil:
		return nil, "", fmt.Errorf("get Secret %s: %w", key, err)
	}
	if key.Namespace != namespace && secret.Annotations[v1alpha1.AnnotationShared] != "true" {
		// Otherwise whoever may use the storage could read every Secret of its namespace that has such a key.
		return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable,
			"encryption Secret %s is not shared with namespace %s: annotate it with %s=true", key, namespace,
			v1alpha1.AnnotationShared)
	}
	dataKey, _ = policy.PasswordOf(func(k string) string { return string(secret.Data[k]) })
	if dataKey == "" {
		return nil, "", refuse(v1alpha1.ReasonEncryptionSecretNotAvailable,
			"encryption Secret %s %s", key, policy.NoPassword)
	}
	// A Secret that another namespace shares has the consent of its owner.
	if key.Namespace == namespace {
		if err := MayUseSecret(ctx, c, secret, append(by, storage)...); err != nil {
			return nil, "", err
		}
	}
	return secret, dataKey, nil
}
