package mover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

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
			return readStorageMetadata(found, t)
		}
		if !errors.Is(err, backend.ErrNotFound) {
			return "", err
		}
		message := "the storage was initialised"
		if t.Storage.MustExist {
			message = "metadata.yaml was lost, and written again"
			err = requireOwnRepository(ctx, store, t)
		} else {
			err = freeForStorage(ctx, storage)
		}
		if err != nil {
			return "", err
		}
		err = m.writeStorageMetadata(ctx, store, t)
		if err == nil {
			return message, nil
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

// requireOwnRepository refuses a storage that has lost its metadata.yaml, unless it is the right one: it holds a
// repository of this cluster. A disk that is not mounted looks like an empty storage. A directory that can't be read
// hides no proof in another one; a storage that is out of reach is so for all of them.
func requireOwnRepository(ctx context.Context, store backend.Store, t task.Task) error {
	var unread error
	for _, directory := range t.Storage.Directories {
		text, err := store.Get(ctx, layout.RepositoryPath(directory))
		if errors.Is(err, backend.ErrNotFound) {
			text, err = store.Get(ctx, layout.SpareOwnerPath(directory)) // a rule can have taken both old files
		}
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if errors.Is(err, repository.ErrUnreachable) {
			return err
		}
		if err != nil {
			unread = cmp.Or(unread, err)
			continue
		}
		if meta, err := layout.ParseRepositoryMetadata(text); err == nil && meta.ClusterUID == t.Cluster {
			return nil
		}
	}
	if unread != nil {
		return unread
	}
	return failure.New(v1alpha1.ReasonMetadataNotFound, fmt.Sprintf("the storage (%s) no longer holds its "+
		"metadata.yaml: %s. Nothing was written. Bring the storage back; if everything in it is lost for good, make a "+
		"BackupStorage with another prefix or subPath, or delete this one and its Repositories and make it again: "+
		"first delete what uses it, and set its deletionPolicy, and theirs, to Delete",
		policy.DescribePlace(t.Storage.Spec), notMounted))
}

// notMounted is why a storage can lack its metadata.yaml.
const notMounted = "it is not mounted, was emptied, or is another one"

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
		fmt.Sprintf("the prefix of the storage lies inside %s: choose another prefix or subPath", above))
}

// readStorageMetadata describes whose storage was found. It never overwrites a file that it can't read, because a
// newer version could have written it. The file alone says which of two BackupStorages that name the same place has it:
// the same name can lead each of them to another server.
func readStorageMetadata(text []byte, t task.Task) (string, error) {
	meta, err := layout.ParseStorageMetadata(text)
	switch {
	case err != nil:
		return "", failure.New(v1alpha1.ReasonBackendInitializationFailed, "metadata.yaml exists but can't be used: "+
			err.Error())
	case meta.ClusterUID == t.Cluster && slices.Contains(t.Storage.Rivals, types.UID(meta.UID)):
		return "", failure.New(v1alpha1.ReasonStorageTaken, fmt.Sprintf("BackupStorage %s/%s already has this place: "+
			"use that BackupStorage, or another prefix", meta.Namespace, meta.Name))
	case meta.ClusterUID != t.Cluster:
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

// requireMounted refuses a storage without its metadata.yaml, which the init of the storage has left there: a disk that
// is not mounted looks like an empty storage, and backups on the wrong disk are out of reach after the mount.
func (i initialisation) requireMounted(ctx context.Context) error {
	_, err := i.store.Get(ctx, layout.StorageMetadataPath())
	if !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	s := i.t.Storage
	return failure.New(v1alpha1.ReasonMetadataNotFound, fmt.Sprintf("the storage (%s) holds no metadata.yaml: %s, and "+
		"no new repository is created there. Bring the storage of BackupStorage %s/%s back. If only that file is "+
		"lost, Cairn writes it again, beside a Repository of the storage; if everything is lost, make a "+
		"BackupStorage with another prefix or subPath", policy.DescribePlace(s.Spec), notMounted, s.Namespace, s.Name))
}

// goneError says that the directory no longer holds its repository, and what to do, by what the storage still holds.
func (i initialisation) goneError(ctx context.Context) error {
	s := i.t.Storage
	if _, err := i.store.Get(ctx, layout.StorageMetadataPath()); errors.Is(err, backend.ErrNotFound) {
		return failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf("directory %s no longer holds its "+
			"repository, and the storage (%s) no metadata.yaml. If BackupStorage %s/%s was changed, change it back; "+
			"else it is not mounted, or was emptied: bring it back. If everything is lost for good, make a "+
			"BackupStorage with another prefix or subPath, and name it in the policy with other repositories",
			i.directory, policy.DescribePlace(s.Spec), s.Namespace, s.Name))
	}
	return failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf("directory %s no longer holds its "+
		"repository (%s). If BackupStorage %s/%s was changed, change it back; else pause what backs up there, bring "+
		"all data of the directory back, with its repository.yaml, and go on; or create a new Repository with another "+
		"directory",
		i.directory, policy.DescribePlace(s.Spec), s.Namespace, s.Name))
}
