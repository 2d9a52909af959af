package sidecar

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// rootCA is the ConfigMap that Kubernetes keeps in every namespace with the certificate authority of the API server.
const rootCA = "kube-root-ca.crt"

// keys adds to data what the sidecar needs for the repositories of its sessions. If a repository is no longer allowed,
// or its Secrets are wrong, keys removes its keys from data and reports the reason.
func (r *Reconciler) keys(ctx context.Context, l *update, data map[string][]byte) error {
	seen := map[string]bool{}
	for _, s := range l.wanted.sessions {
		for _, info := range s.session.Repositories {
			if seen[info.Name] {
				continue
			}
			seen[info.Name] = true
			names := sidecar.KeysOf(s.configuration.Namespace, info.Name)
			keys, storage, err := r.keysOf(ctx, s.configuration.Namespace, info.Name)
			if reason, message, ok := access.ReasonOf(err); ok {
				maps.DeleteFunc(data, func(k string, _ []byte) bool { return names.Of(k) })
				l.state.Refuse(reason, "Repository %s: %s", info.Name, message)
				l.lookAgain(sidecar.RefusedInterval)
				continue
			} else if err != nil {
				return err
			}
			if keys == nil {
				continue // the BackupConfiguration reports what it waits for
			}
			for k, v := range keys.Storage {
				data[names.Storage(k)] = v
			}
			for k, v := range keys.Encryption {
				data[names.Encryption(k)] = v
			}
			data[names.Version()] = []byte(keys.Version)
			if data[names.Place()], err = sidecar.EncodePlace(moverjob.StorageOf(storage)); err != nil {
				return err
			}
		}
	}
	return nil
}

// keysOf reads the keys of one repository, and the storage that they are for. It returns nil if Repository or storage
// do not exist.
func (r *Reconciler) keysOf(
	ctx context.Context, namespace, name string,
) (*access.Keys, *v1alpha1.BackupStorage, error) {
	var repository v1alpha1.Repository
	if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &repository); apierrors.IsNotFound(err) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("get Repository %s: %w", name, err)
	}
	storage, err := defaults.Storage(ctx, r.Client, namespace, repository.Spec.StorageRef)
	if err != nil || storage == nil {
		return nil, nil, err
	}
	if err := access.AllowedDirectory(storage, r.ClusterName, namespace, repository.Spec.Path); err != nil {
		return nil, nil, err
	}
	keys, err := access.ReadKeys(ctx, r.Client, namespace, storage, repository.Spec.EncryptionSecret)
	if err != nil {
		return nil, nil, err
	}
	return &keys, storage, nil
}

// authority adds the certificate authority of the API server to data, if the cluster publishes it.
func (r *Reconciler) authority(ctx context.Context, namespace string, data map[string][]byte) error {
	var m corev1.ConfigMap
	if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: rootCA}, &m); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("get ConfigMap %s/%s: %w", namespace, rootCA, err)
	}
	data[sidecar.KeyCA] = []byte(m.Data["ca.crt"])
	return nil
}
