package backupconfiguration

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// missingInterval is the interval at which the controller looks for a missing Secret. Secrets are not watched, because
// whoever is allowed to watch them can read them all. The controller looks for an existing Secret again when a run
// begins or ends.
const missingInterval = time.Minute

// checkSecrets records whether the Secrets with the passwords exist. It does not read their content. In another
// namespace it looks only for Secrets beside a storage that this namespace is allowed to use, so that nobody learns the
// names of other Secrets.
func (r *Reconciler) checkSecrets(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, usable map[string]bool, findings *findings,
) error {
	home := map[string]string{}
	for _, b := range configuration.Spec.Backends {
		if usable[b.Name] {
			home[b.Name] = cmp.Or(b.StorageRef.Namespace, configuration.Namespace)
		}
	}
	seen := map[client.ObjectKey]bool{}
	for i := range configuration.Spec.Sessions {
		for _, info := range configuration.Spec.Sessions[i].Repositories {
			if info.EncryptionSecret == nil {
				continue // VolumeSnapshots have no password.
			}
			key := info.EncryptionSecret.In(configuration.Namespace)
			if seen[key] || key.Namespace != configuration.Namespace && key.Namespace != home[info.Backend] {
				continue
			}
			seen[key] = true
			found, err := r.secretExists(ctx, key)
			if err != nil {
				return err
			}
			findings.dependencies.Add(v1alpha1.TypedObjectReference{
				Kind: "Secret", Namespace: key.Namespace,
				Name: key.Name,
			}, found)
			findings.lookAgain = findings.lookAgain || !found
		}
	}
	return nil
}

func (r *Reconciler) secretExists(ctx context.Context, key client.ObjectKey) (bool, error) {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := r.APIReader.Get(ctx, key, secret)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Secret %s: %w", key, err)
	}
	return !apierrors.IsNotFound(err), nil
}
