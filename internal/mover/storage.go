package mover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/scan"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// storage builds the storage from task and credentials.
func (m *Mover) storage(t task.Task) (repository.Storage, error) {
	spec := t.Storage.Spec
	if missing := m.missingKeys(spec); missing != nil {
		return repository.Storage{}, missing
	}
	local := ""
	if spec.Local != nil {
		local = m.Path(moverjob.StorageMount(spec.Local))
	}
	rules, err := t.Policy()
	if err != nil {
		return repository.Storage{}, failure.New(v1alpha1.ReasonInvalidTask, err.Error())
	}
	out, err := backend.FromSpec(spec, local, rules, m.credential)
	if err != nil && failure.AsFailure(err) == nil && !errors.Is(err, repository.ErrBadCredentials) {
		err = failure.New(v1alpha1.ReasonInvalidTask, err.Error())
	}
	return out, err
}

// missingKeys returns an error that names the keys that the storage's Secret lacks.
func (m *Mover) missingKeys(spec v1alpha1.Storage) error {
	secret := policy.SecretOf(spec)
	if secret.Name == "" {
		return nil
	}
	sizes := map[string]int{}
	for _, key := range secret.Keys() {
		value, err := m.credential(key)
		if err != nil {
			return err
		}
		sizes[key] = len(value)
	}
	if missing := secret.Missing(func(key string) int { return sizes[key] }); missing != "" {
		return failure.New(v1alpha1.ReasonBackendSecretNotAvailable, "the storage's Secret lacks "+missing)
	}
	return nil
}

// credential reads one key of the storage's Secret. It returns "" if the key is absent, and drops white space around
// the value.
func (m *Mover) credential(key string) (string, error) {
	b, err := m.readCredential(key)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", failure.New(v1alpha1.ReasonBackendSecretNotAvailable,
			fmt.Sprintf("key %s can't be read: %v", key, err))
	}
	return strings.TrimSpace(string(b)), nil
}

// password reads the password of the repository.
func (m *Mover) password(directory string) (string, error) {
	var unreadable error
	_, password := policy.PasswordOf(func(key string) string {
		b, err := m.readEncryption(directory, key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && unreadable == nil {
			unreadable = failure.New(v1alpha1.ReasonEncryptionSecretNotAvailable,
				fmt.Sprintf("key %s can't be read: %v", key, err))
		}
		return string(b)
	})
	if unreadable != nil {
		return "", unreadable
	}
	if password == "" {
		return "", failure.New(v1alpha1.ReasonEncryptionSecretNotAvailable,
			"the encryption Secret "+policy.NoPassword)
	}
	return password, nil
}

// repository returns where the task's repository lies and how to open it.
func (m *Mover) repository(t task.Task, storage repository.Storage) (repository.Repository, error) {
	if t.Repository.Driver != v1alpha1.DriverKopia {
		return repository.Repository{}, failure.New(v1alpha1.ReasonInvalidTask,
			fmt.Sprintf("this mover has no driver %q", t.Repository.Driver))
	}
	directory, err := layout.NormalizeDirectory(t.Repository.Directory)
	if err != nil {
		return repository.Repository{}, failure.New(v1alpha1.ReasonInvalidPath, err.Error())
	}
	password, err := m.password(t.Repository.Encryption)
	if err != nil {
		return repository.Repository{}, err
	}
	work := m.Path(filepath.Join(task.WorkDir, "engine"))
	if err := os.MkdirAll(work, 0o700); err != nil {
		return repository.Repository{}, fmt.Errorf("create work directory: %w", err)
	}
	return repository.Repository{
		Storage:  storage.Sub(strings.TrimSuffix(layout.EnginePath(directory), "/")),
		Password: password,
		Owner:    "cairn@" + t.Cluster,
		WorkDir:  work,
		Log: func(level, part, msg string) {
			if level != "info" {
				m.Log.Warn(msg, "engine", part)
			}
		},
	}, nil
}

// reach reads the repository's metadata before the engine opens the repository. It reports a problem with the storage
// within seconds, while an engine has more patience. It returns nil if there is none.
func reach(ctx context.Context, store backend.Store, directory string) ([]byte, error) {
	directory, err := layout.NormalizeDirectory(directory)
	if err != nil {
		return nil, failure.New(v1alpha1.ReasonInvalidPath, err.Error())
	}
	text, err := store.Get(ctx, layout.RepositoryPath(directory))
	if errors.Is(err, backend.ErrNotFound) {
		return nil, nil // the engine finds out what exists
	}
	return text, err
}

// reachOwn is reach for a mover that writes. It refuses a directory that another Repository or cluster has taken over:
// nobody here would find the backup there, and the new owner would not know it. Of a directory without a
// repository.yaml, the engine knows the owner: see ownNameless.
func reachOwn(ctx context.Context, store backend.Store, t task.Task) (named bool, _ error) {
	text, err := reach(ctx, store, t.Repository.Directory)
	if err != nil || text == nil {
		return false, err
	}
	meta, err := layout.ParseRepositoryMetadata(text)
	if err != nil {
		return true, nil // a newer version can have written it; an init or a keeper says so
	}
	return true, ownedBy(t, meta)
}

// ownedBy refuses a backup into a directory that somebody else owns by now.
func ownedBy(t task.Task, meta layout.RepositoryMetadata) error {
	if sameOwner(meta, layout.RepositoryMetadata{
		ClusterUID: t.Cluster, RepositoryUID: string(t.Repository.UID),
		RepositoryNamespace: t.Namespace, RepositoryName: t.Repository.Name,
	}) {
		return nil
	}
	return taken(t.Repository.Directory, meta, t.Cluster, "nothing was backed up. The condition Ready of the "+
		"Repository will say how to take the directory back")
}

// ownNameless does what reachOwn does for a repository that has lost its repository.yaml. The copy names the owner; the
// next init Job of that one writes the file again. Without a copy, the engine knows at least the cluster.
func (b *backup) ownNameless(ctx context.Context, own string) error {
	meta, err := spareOwner(ctx, b.store, b.directory)
	if err != nil && failure.AsFailure(err) == nil { // what can't be read, a newer version can have written
		return err
	}
	if meta != nil {
		return ownedBy(b.t, *meta)
	}
	other, err := otherOwner(ctx, b.engine, own)
	if err != nil || other == "" {
		return err
	}
	return failure.New(v1alpha1.ReasonDirectoryTaken, fmt.Sprintf("directory %s has no repository.yaml, and another "+
		"cluster maintains its repository: nothing was backed up. The condition Ready of the Repository will say how "+
		"to take the directory back", b.directory))
}

// spareOwner reads the copy of repository.yaml. It returns nil if there is none.
func spareOwner(ctx context.Context, store backend.Store, directory string) (*layout.RepositoryMetadata, error) {
	p := layout.SpareOwnerPath(directory)
	text, err := store.Get(ctx, p)
	if errors.Is(err, backend.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	meta, err := layout.ParseRepositoryMetadata(text)
	if err != nil {
		return nil, failure.New(v1alpha1.ReasonRepositoryDamaged, fmt.Sprintf("directory %s has lost its "+
			"repository.yaml, and the copy %s can't be used: %v. Bring repository.yaml back", directory, p, err))
	}
	return &meta, nil
}

// orGone tells a repository that has lost its keys from a directory that holds none any more, such as on a disk that is
// not mounted: there repository.yaml, which names it, is missing too.
func orGone(err error, named bool, t task.Task) error {
	if named || !errors.Is(err, repository.ErrNotInitialized) {
		return err
	}
	s := t.Storage
	return failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf("directory %s holds no repository (%s): the "+
		"storage of BackupStorage %s/%s is not mounted or was changed, or the directory was emptied. The condition "+
		"Ready of the Repository will say what to do", t.Repository.Directory, policy.DescribePlace(s.Spec),
		s.Namespace, s.Name))
}

// open opens a repository. It tells of a lost key.
func (m *Mover) open(ctx context.Context, at repository.Repository, name string) (repository.Engine, error) {
	engine, err := m.Driver.Open(ctx, at)
	if err == nil && engine.KeyLost() {
		m.Log.Warn("the storage has lost the key of the repository: opened it with the spare key", "repository", name)
	}
	return engine, err
}

// ownerOf returns who maintains a repository that was initialised. One that opens and knows no owner has no index: to
// kopia it is empty. Somebody is copying it back in the order of names, or has lost the index. What is written there
// now is lost once the index comes, and a maintenance would collect all data. Where descriptions are lost, the index is
// there, and the owner can be among them.
func ownerOf(ctx context.Context, engine repository.Engine, directory string) (string, error) {
	owner, err := engine.Owner(ctx)
	if err != nil || owner != "" || engine.Lost() {
		return owner, err
	}
	return "", failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf("directory %s holds a repository without "+
		"its index (the files %sx...): nothing was written there. Pause what backs up there, bring all files of the "+
		"directory back, and go on; if the index is lost for good, create a new Repository with another directory",
		directory, layout.EnginePath(directory)))
}

// witnessed does what removes or maintains, unless the repository lacks one of the witnesses. The Snapshots for which
// retention lets others go can be lost, and what keepers wrote since: the storage has gone back in time, or somebody is
// copying it back. It is for a check to find out which are. With careful, do itself spares what the witnesses need.
func (k *keeper) witnessed(careful bool, do func() error) error {
	lacking, err := k.lacking()
	switch {
	case err != nil:
		return err
	case len(lacking) == 0, careful:
		return do()
	case k.engine.Lost():
		return failure.New(v1alpha1.ReasonRepositoryDamaged, fmt.Sprintf("the repository in directory %s has lost "+
			"descriptions of data, and Snapshot %s with them: nothing is removed there before a check has looked at "+
			"each Snapshot", k.directory, lacking[0].Snapshot))
	}
	return failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf("the repository in directory %s lacks Snapshot "+
		"%s: the storage has gone back in time, a part of it is missing, or the objects in the cluster come from an "+
		"old copy. Nothing is removed or maintained there before a check has looked at each Snapshot",
		k.directory, lacking[0].Snapshot))
}

// needed returns the names of the Snapshots that must be described before anything is collected, by the IDs of their
// data. The results of their components can be lost, too: the witnesses are what the cluster knows.
func (k *keeper) needed(ctx context.Context) (map[string]string, error) {
	lacking, err := k.lacking()
	if err != nil {
		return nil, err
	}
	names, err := scan.Needed(ctx, k.store, k.directory)
	if err != nil || len(lacking) == 0 {
		return names, err
	}
	out := map[string]string{}
	maps.Copy(out, names)
	for _, w := range lacking {
		out[w.ID] = w.Snapshot
	}
	return out, nil
}

// taken is the failure of a mover whose directory somebody else owns by now. undone is what it has not done.
func taken(directory string, owner layout.RepositoryMetadata, cluster, undone string) error {
	return failure.New(v1alpha1.ReasonDirectoryTaken,
		fmt.Sprintf("directory %s now belongs to %s: %s", directory, nameOf(owner, cluster), undone))
}

// nameOf names the owner of a directory to users of this cluster.
func nameOf(owner layout.RepositoryMetadata, cluster string) string {
	name := "Repository " + owner.RepositoryNamespace + "/" + owner.RepositoryName
	if owner.ClusterUID != cluster {
		name += " of another cluster"
	}
	return name
}

// keepKey keeps the spare key of the repository, or puts the key back. It is no part of the maintenance: the
// next one tries again.
func (k *keeper) keepKey(ctx context.Context) {
	lost, name := k.engine.KeyLost(), k.work.Repository.Name
	written, err := k.engine.KeepKey(ctx)
	switch {
	case err != nil:
		k.m.Log.Warn("keep the spare key of the repository", "repository", name, "reason",
			failure.ClassifyMove(err).Reason)
	case written && lost:
		k.m.Log.Info("put the key of the repository back", "repository", name)
	case written:
		k.m.Log.Info("wrote the spare key of the repository", "repository", name)
	}
}

// keepOwner keeps the copy of repository.yaml young. It is no part of the maintenance: the next one tries again.
// The caller holds the lease, so nobody adopts the directory meanwhile.
func (k *keeper) keepOwner(ctx context.Context) {
	text, err := k.store.Get(ctx, layout.RepositoryPath(k.directory))
	if err == nil {
		err = k.store.Put(ctx, layout.SpareOwnerPath(k.directory), text)
	}
	if err != nil {
		k.m.Log.Warn("keep the copy of repository.yaml", "repository", k.work.Repository.Name, "reason",
			failure.ClassifyMove(err).Reason)
	}
}

// sweep removes what killed movers and broken connections have left of files that they were writing. It is no part of
// the maintenance: the next one tries again.
func (k *keeper) sweep(ctx context.Context) {
	swept, err := backend.Sweep(ctx, k.store, k.directory)
	if swept.Files > 0 {
		k.m.Log.Info("removed parts of files that nobody writes any more", "repository", k.work.Repository.Name,
			"files", swept.Files, "bytes", swept.Bytes)
	}
	if err != nil {
		k.m.Log.Warn("look for parts of files that nobody writes any more", "repository", k.work.Repository.Name,
			"reason", failure.ClassifyMove(err).Reason)
	}
}

// owned verifies that the directory still belongs to the Repository: nothing is removed from the directory of another
// one.
func (k *keeper) owned(ctx context.Context) error {
	text, err := k.store.Get(ctx, layout.RepositoryPath(k.directory))
	if errors.Is(err, backend.ErrNotFound) {
		return failure.New(v1alpha1.ReasonRepositoryNotFound,
			fmt.Sprintf("directory %s holds no repository.yaml: nothing is removed or maintained there. The condition "+
				"Ready of the Repository will say what to do", k.directory))
	}
	if err != nil {
		return err
	}
	meta, err := layout.ParseRepositoryMetadata(text)
	if err != nil {
		return failure.New(v1alpha1.ReasonRepositoryDamaged, "repository.yaml exists but can't be used: "+err.Error())
	}
	if meta.ClusterUID != k.t.Cluster || meta.RepositoryUID != string(k.work.Repository.UID) {
		return taken(k.directory, meta, k.t.Cluster, "nothing was removed")
	}
	return nil
}

// stillOwned reports whether the directory still belongs to the Repository.
func (k *keeper) stillOwned(ctx context.Context) (bool, error) {
	err := k.owned(ctx)
	if failure.AsFailure(err) != nil {
		return false, nil
	}
	return err == nil, err
}

// inStorage verifies that the storage is the one that was initialised, as far as this cluster initialised it.
func (k *keeper) inStorage(ctx context.Context) error {
	text, err := k.store.Get(ctx, layout.StorageMetadataPath())
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	meta, perr := layout.ParseStorageMetadata(text)
	if err == nil && perr == nil && sameStorage(meta, k.t) {
		return nil
	}
	return failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf("the storage holds neither the directory %s nor "+
		"its own metadata.yaml: it is not mounted, or another one. Nothing was removed", k.directory))
}
