package mover

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// initStorage finds metadata.yaml or writes it. Clusters can share a storage: ownership is decided for each directory
// in it.
func (m *Mover) initStorage(ctx context.Context, t task.Task) (string, error) {
	storage, err := m.storage(t)
	if err != nil {
		return "", err
	}
	store, err := backend.Open(storage)
	if err != nil {
		return "", err
	}
	for range 2 { // once more if another init was faster
		found, err := store.Get(ctx, layout.StorageMetadataPath())
		if err == nil {
			return readStorageMetadata(found, t.Cluster)
		}
		if !errors.Is(err, backend.ErrNotFound) {
			return "", err
		}
		if err := freeForStorage(ctx, storage); err != nil {
			return "", err
		}
		err = m.writeStorageMetadata(ctx, store, t)
		if err == nil {
			return "the storage was initialised", nil
		}
		if !errors.Is(err, backend.ErrExists) {
			return "", err
		}
	}
	return "", failure.New(v1alpha1.ReasonBackendInitializationFailed,
		"metadata.yaml appears and disappears: two clusters may be initialising the storage")
}

// writeStorageMetadata writes the metadata.yaml of a storage that has none.
func (m *Mover) writeStorageMetadata(ctx context.Context, store backend.Store, t task.Task) error {
	text, err := layout.StorageMetadata{
		UID: string(t.Storage.UID), Namespace: t.Storage.Namespace, Name: t.Storage.Name, ClusterUID: t.Cluster,
		Created: m.Now(),
	}.Marshal()
	if err != nil {
		return fmt.Errorf("encode metadata of storage: %w", err)
	}
	return store.PutIfAbsent(ctx, layout.StorageMetadataPath(), text)
}

// keepStorageMetadata writes metadata.yaml again if it is lost. The storage is the right one: it holds the repository.
// It is no part of the maintenance: the next one tries again. Without the file, no new repository is created.
func (k *keeper) keepStorageMetadata(ctx context.Context) {
	_, err := k.store.Get(ctx, layout.StorageMetadataPath())
	if err == nil || k.t.Storage.UID == "" {
		return
	}
	if errors.Is(err, backend.ErrNotFound) {
		if err = k.m.writeStorageMetadata(ctx, k.store, k.t); err == nil {
			k.m.Log.Warn("wrote the lost metadata.yaml of the storage again", "storage", k.t.Storage.Name)
		}
	}
	if err != nil && !errors.Is(err, backend.ErrExists) {
		k.m.Log.Warn("look for the metadata.yaml of the storage", "storage", k.t.Storage.Name, "reason",
			failure.ClassifyMove(err).Reason)
	}
}

// freeForStorage refuses a prefix inside a repository: who removes the repository must not find a storage there. A
// storage can lie inside another one.
func freeForStorage(ctx context.Context, storage repository.Storage) error {
	above, err := backend.Above(ctx, storage, "")
	if err != nil || above == nil {
		return err
	}
	return failure.New(v1alpha1.ReasonStorageTaken,
		fmt.Sprintf("the prefix of the storage lies inside %s: choose another prefix", above))
}

// readStorageMetadata describes whose storage was found. It never overwrites a file that it can't read, because a
// newer version could have written it.
func readStorageMetadata(text []byte, cluster string) (string, error) {
	meta, err := layout.ParseStorageMetadata(text)
	switch {
	case err != nil:
		return "", failure.New(v1alpha1.ReasonBackendInitializationFailed, "metadata.yaml exists but can't be used: "+
			err.Error())
	case meta.ClusterUID != cluster:
		return "the storage is shared with the cluster that initialised it", nil
	}
	return "the storage was initialised before", nil
}

// sameStorage reports whether a metadata.yaml can be that of the task's BackupStorage, perhaps one that was made again
// under its name. That of another cluster can: clusters share a storage. Nobody writes the new UID into the file: not
// every credential can replace one.
func sameStorage(meta layout.StorageMetadata, t task.Task) bool {
	s := t.Storage
	return meta.ClusterUID != t.Cluster || s.UID == "" || meta.UID == string(s.UID) ||
		meta.Name == s.Name && meta.Namespace == s.Namespace
}

// mounted refuses a storage without its metadata.yaml, which the init of the storage has left there: a disk that is not
// mounted looks like an empty storage, and backups on the wrong disk are out of reach after the mount. The reason is
// none that blames the storage: its init would write the file there.
func (i initialisation) mounted(ctx context.Context) error {
	_, err := i.store.Get(ctx, layout.StorageMetadataPath())
	if !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	s := i.t.Storage
	return failure.New(v1alpha1.ReasonRepositoryInitializationFailed, fmt.Sprintf("the storage (%s) holds no "+
		"metadata.yaml: it is not mounted, or another one, and no new repository is created there. Bring the storage "+
		"of BackupStorage %s/%s back. If only that file is lost, the next maintenance of a Repository in the storage "+
		"writes it again; if everything is lost, make a BackupStorage with another prefix",
		policy.DescribePlace(s.Spec), s.Namespace, s.Name))
}
