package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// initRepository finds a repository or creates it. It writes repository.yaml last, so where that file is, the
// engine's data exists too.
func (m *Mover) initRepository(ctx context.Context, t task.Task) (string, error) {
	storage, err := m.storage(t)
	if err != nil {
		return "", err
	}
	i, err := m.initialisation(t, storage)
	if err != nil {
		return "", err
	}
	for range 3 { // again if another init or a wipe was faster
		found, err := i.store.Get(ctx, layout.RepositoryPath(i.directory))
		if err == nil {
			message, err := i.existing(ctx, found)
			if !errors.Is(err, errChanged) {
				return message, err
			}
			continue
		}
		if !errors.Is(err, backend.ErrNotFound) {
			return "", err
		}
		message, err := i.absent(ctx)
		if !errors.Is(err, backend.ErrExists) {
			return message, err
		}
	}
	return "", failure.New(v1alpha1.ReasonDirectoryTaken,
		"repository.yaml appears and disappears: another cluster may be initialising the directory")
}

// initialisation is the init of a repository in progress.
type initialisation struct {
	m         *Mover
	t         task.Task
	storage   repository.Storage
	store     backend.Store
	rep       repository.Repository
	directory string
}

func (m *Mover) initialisation(t task.Task, storage repository.Storage) (initialisation, error) {
	i := initialisation{m: m, t: t, storage: storage}
	var err error
	if i.store, err = backend.Open(storage); err != nil {
		return i, err
	}
	if i.rep, err = m.repository(t, storage); err != nil {
		return i, err
	}
	i.directory, err = layout.NormalizeDirectory(t.Repository.Directory)
	return i, err // m.repository has refused a bad one before
}

// existing checks who owns the directory and whether the password opens the repository in it.
func (i initialisation) existing(ctx context.Context, text []byte) (string, error) {
	meta, err := layout.ParseRepositoryMetadata(text)
	if err != nil {
		return "", failure.New(v1alpha1.ReasonRepositoryDamaged,
			"repository.yaml exists but can't be used: "+err.Error())
	}
	ours := i.metadata(meta)
	same := sameRepository(meta, ours)
	if consent := meta.Consent(i.directory); !same && i.t.Repository.Adopt != consent {
		return "", failure.New(v1alpha1.ReasonDirectoryTaken,
			fmt.Sprintf("directory %s belongs to %s. Choose another directory, or adopt this one with the "+
				"annotation %s: %s",
				i.directory, nameOf(meta, ours.ClusterUID), v1alpha1.AnnotationAdopt, consent))
	}
	if !same {
		ours.Created = i.m.Now() // from now on the consent to the old owner means nobody
	}
	if meta.ClusterUID != ours.ClusterUID || meta.RepositoryUID != ours.RepositoryUID {
		release, err := i.alone(ctx, text)
		if err != nil {
			return "", err
		}
		defer release()
	}
	// The engine changes its owner first: an adoption that ends here is repeated, or else the next keeper of the owner
	// in repository.yaml takes the maintenance back.
	if err := i.in(ctx, i.take); err != nil {
		if errors.Is(err, repository.ErrWrongPassword) && meta.KeyID == ours.KeyID &&
			meta.ClusterUID == ours.ClusterUID {
			return "", failure.PasswordChanged() // this Secret's password fitted when repository.yaml was written
		}
		return "", err
	}
	if meta == ours {
		i.keepSpare(ctx, text)
		return "the repository was initialised before", nil
	}
	if text, err = ours.Marshal(); err != nil {
		return "", fmt.Errorf("encode metadata of repository: %w", err)
	}
	// The copy comes first: it must not name the old owner, who would get the directory back with it.
	if err := i.store.Put(ctx, layout.SpareOwnerPath(i.directory), text); err != nil {
		return "", err
	}
	if err := i.store.Put(ctx, layout.RepositoryPath(i.directory), text); err != nil {
		return "", err
	}
	return "an existing repository was adopted", nil
}

// errChanged means that repository.yaml is no longer what an init has read.
var errChanged = errors.New("repository.yaml has changed")

// alone takes the lease of the keepers while the directory changes its owner: a keeper of the present one can be
// removing the repository. The caller must call the returned function.
func (i initialisation) alone(ctx context.Context, text []byte) (release func(), _ error) {
	_, lease, err := backend.TakeLease(ctx, i.store, i.directory, backend.LeaseOptions{
		Now: i.m.Now, Renew: i.m.RenewLease,
	})
	if errors.Is(err, backend.ErrHeld) {
		return nil, failure.New(v1alpha1.ReasonKeeperRunning, fmt.Sprintf("a keeper of the present owner works in "+
			"directory %s, and perhaps removes it: Cairn tries again", i.directory))
	}
	if err != nil {
		return nil, err
	}
	release = func() {
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			// The next keeper waits until it is sure that nobody renews the lease.
			i.m.Log.Warn("give back the lease", "repository", i.t.Repository.Name,
				"reason", failure.ClassifyInit(err).Reason)
		}
	}
	now, err := i.store.Get(ctx, layout.RepositoryPath(i.directory))
	if errors.Is(err, backend.ErrNotFound) || err == nil && !bytes.Equal(now, text) {
		err = errChanged
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// sameOwner reports whether both name the same Repository of the same cluster, perhaps one that was made again.
func sameOwner(a, b layout.RepositoryMetadata) bool {
	return a.ClusterUID == b.ClusterUID && (a.RepositoryUID == b.RepositoryUID ||
		a.RepositoryNamespace == b.RepositoryNamespace && a.RepositoryName == b.RepositoryName)
}

// sameRepository reports whether an init of one can go on with the directory of the other. A Repository that was made
// again under its name for another target is another one.
func sameRepository(a, b layout.RepositoryMetadata) bool {
	return sameOwner(a, b) && (a.RepositoryUID == b.RepositoryUID || sameApp(a.AppRef, b.AppRef))
}

// sameApp reports whether both can be the same target. A Repository that was never used can have none.
func sameApp(a, b layout.AppRef) bool { return a == b || a.Name == "" || b.Name == "" }

// absent creates the repository, or completes one that an interrupted init left.
func (i initialisation) absent(ctx context.Context) (string, error) {
	spare, err := i.spare(ctx)
	if err != nil {
		return "", err
	}
	if i.t.Repository.MustExist || spare != nil { // nothing writes the copy before there is a repository.yaml
		return "repository.yaml was lost, and written again", i.writeLostMetadata(ctx, spare)
	}
	if err := i.requireMounted(ctx); err != nil {
		return "", err
	}
	if err := i.free(ctx); err != nil {
		return "", err
	}
	err = i.m.Driver.Init(ctx, i.rep)
	if errors.Is(err, repository.ErrAlreadyInitialized) {
		err = i.in(ctx, i.takeOwnerless)
	}
	if err != nil {
		return "", err
	}
	meta := i.metadata(layout.RepositoryMetadata{Created: i.m.Now()})
	return "the repository was initialised", i.writeMetadata(ctx, meta)
}

// writeMetadata writes the repository.yaml of a repository that has none. The copy comes later: only one of several
// inits may write it.
func (i initialisation) writeMetadata(ctx context.Context, meta layout.RepositoryMetadata) error {
	text, err := meta.Marshal()
	if err != nil {
		return fmt.Errorf("encode metadata of repository: %w", err)
	}
	if err := i.store.PutIfAbsent(ctx, layout.RepositoryPath(i.directory), text); err != nil {
		return err
	}
	i.keepSpare(ctx, text)
	return nil
}

// spare returns the copy of a lost repository.yaml, or nil if there is none. It refuses the directory of another
// Repository or cluster.
func (i initialisation) spare(ctx context.Context) (*layout.RepositoryMetadata, error) {
	meta, err := spareOwner(ctx, i.store, i.directory)
	if err != nil || meta == nil || sameRepository(*meta, i.metadata(*meta)) {
		return meta, err
	}
	return nil, failure.New(v1alpha1.ReasonDirectoryTaken, fmt.Sprintf("directory %s has lost its repository.yaml, "+
		"and belongs to %s by the copy %s. An init Job of the owner writes it again. To adopt the directory, copy "+
		"that file to %s first", i.directory, nameOf(*meta, i.t.Cluster), layout.SpareOwnerPath(i.directory),
		layout.RepositoryPath(i.directory)))
}

// writeLostMetadata writes the repository.yaml of a repository that has lost it. Only the copy proves whose it is: the
// engine knows no Repositories, and knows nothing in a directory that somebody is copying back. A wipe removes the copy
// before the data.
func (i initialisation) writeLostMetadata(ctx context.Context, spare *layout.RepositoryMetadata) error {
	err := i.in(ctx, func(ctx context.Context, engine repository.Engine) error {
		if spare == nil {
			return i.refuseNameless(ctx, engine)
		}
		if _, err := ownerOf(ctx, engine, i.directory); err != nil {
			return err
		}
		return i.takeOwnerless(ctx, engine)
	})
	if errors.Is(err, repository.ErrNotInitialized) {
		return i.goneError(ctx)
	}
	if err != nil {
		return err
	}
	if err := i.writeMetadata(ctx, i.metadata(*spare)); err != nil {
		return err
	}
	i.m.Log.Warn("wrote the lost repository.yaml again", "repository", i.t.Repository.Name, "directory", i.directory)
	return nil
}

// refuseNameless fails in each case. A repository that opens and is maintained by this cluster lacks no more than its
// name. The reason is none that disproves it, so that backups and restores go on.
func (i initialisation) refuseNameless(ctx context.Context, engine repository.Engine) error {
	owner, err := engine.Owner(ctx)
	if err != nil {
		return err
	}
	if owner != i.rep.Owner {
		return repository.ErrNotInitialized // or only a part of it is there
	}
	return failure.New(v1alpha1.ReasonRepositoryInitializationFailed, fmt.Sprintf("directory %s has lost its "+
		"repository.yaml and has no copy of it: nothing is maintained, checked or removed before %s is back",
		i.directory, layout.RepositoryPath(i.directory)))
}

// in opens the repository, which verifies that the password fits, and closes it after do.
func (i initialisation) in(ctx context.Context, do func(context.Context, repository.Engine) error) (err error) {
	engine, err := i.m.open(ctx, i.rep, i.t.Repository.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close(ctx)) }()
	return do(ctx, engine)
}

// keepSpare writes the copy of repository.yaml if it differs. The next full maintenance does it, too.
func (i initialisation) keepSpare(ctx context.Context, text []byte) {
	spare, err := i.store.Get(ctx, layout.SpareOwnerPath(i.directory))
	if err == nil && bytes.Equal(spare, text) {
		return
	}
	if err == nil || errors.Is(err, backend.ErrNotFound) {
		err = i.store.Put(ctx, layout.SpareOwnerPath(i.directory), text)
	}
	if err != nil {
		i.m.Log.Warn("keep the copy of repository.yaml", "repository", i.t.Repository.Name, "reason",
			failure.ClassifyInit(err).Reason)
	}
}

// free refuses a directory inside or around another repository or storage, or with the files of another program: what
// removes one could take the other along.
func (i initialisation) free(ctx context.Context) error {
	const advice = ": choose another directory, or another prefix for the storage"
	above, err := backend.Above(ctx, i.storage, i.directory)
	if err != nil {
		return err
	}
	if above != nil {
		return failure.New(v1alpha1.ReasonDirectoryTaken,
			fmt.Sprintf("directory %s lies inside %s%s", i.directory, above, advice))
	}
	below, err := backend.Below(ctx, i.storage, i.directory)
	if err != nil {
		return err
	}
	if below != nil {
		return failure.New(v1alpha1.ReasonDirectoryTaken,
			fmt.Sprintf("directory %s lies around %s%s", i.directory, below, advice))
	}
	strangers, err := backend.Strangers(ctx, i.store, i.directory)
	if err != nil {
		return err
	}
	if strangers != "" {
		return failure.New(v1alpha1.ReasonDirectoryTaken,
			fmt.Sprintf("directory %s holds %s%s", i.directory, strangers, advice))
	}
	return nil
}

// take lets this cluster maintain a repository that was initialised.
func (i initialisation) take(ctx context.Context, engine repository.Engine) error {
	if _, err := ownerOf(ctx, engine, i.directory); err != nil {
		return err
	}
	return engine.TakeOwnership(ctx)
}

// takeOwnerless does so for a repository that has no repository.yaml. An interrupted init of this cluster leaves one,
// perhaps without an owner. That of another cluster has lost its repository.yaml.
func (i initialisation) takeOwnerless(ctx context.Context, engine repository.Engine) error {
	other, err := otherOwner(ctx, engine, i.rep.Owner)
	if err != nil {
		return err
	}
	consent := layout.ConsentTo(i.directory, other)
	if other != "" && i.t.Repository.Adopt != consent {
		return failure.New(v1alpha1.ReasonDirectoryTaken, fmt.Sprintf("directory %s holds a repository that "+
			"another cluster maintains, but no repository.yaml. Choose another directory, or adopt this one with "+
			"the annotation %s: %s", i.directory, v1alpha1.AnnotationAdopt, consent))
	}
	return engine.TakeOwnership(ctx)
}

// otherOwner returns who maintains a repository, or "" if it is this cluster or nobody.
func otherOwner(ctx context.Context, engine repository.Engine, own string) (string, error) {
	owner, err := engine.Owner(ctx)
	if owner == own {
		owner = ""
	}
	return owner, err
}

// metadata returns the content of repository.yaml for this task, based on its old content.
func (i initialisation) metadata(old layout.RepositoryMetadata) layout.RepositoryMetadata {
	r := i.t.Repository
	old.Driver = string(r.Driver)
	old.AppRef = layout.AppRef{
		APIGroup: r.AppRef.APIGroup, Kind: r.AppRef.Kind, Namespace: r.AppRef.Namespace,
		Name: r.AppRef.Name,
	}
	if old.AppRef.Namespace == "" {
		old.AppRef.Namespace = i.t.Namespace
	}
	old.ClusterUID = i.t.Cluster
	old.RepositoryUID, old.RepositoryNamespace, old.RepositoryName = string(r.UID), i.t.Namespace, r.Name
	old.KeyID = r.KeyID
	return old
}
