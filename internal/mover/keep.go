package mover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// keep does the due work in one repository after another. A repository that fails does not stop the others.
func (m *Mover) keep(ctx context.Context, t task.Task) task.Result {
	storage, err := m.storage(t)
	if err != nil {
		return Failed(failure.ClassifyInit(err))
	}
	store, err := backend.Open(storage)
	if err != nil {
		return Failed(failure.ClassifyInit(err))
	}
	var results []task.ComponentResult
	for i := range t.Keep {
		began := m.Now()
		k := keeper{m: m, t: t, store: store, work: &t.Keep[i]}
		k.t.Repository = &k.work.Repository
		r := task.ComponentResult{Name: strconv.Itoa(i)}
		err := k.do(ctx, storage, &r)
		var f *failure.Failure
		if err != nil {
			f = failure.ClassifyMove(err)
		}
		m.Log.Info("kept", "repository", k.work.Repository.Name, "removed", len(k.work.Remove), "wiped", k.work.Wipe,
			"maintained", k.work.Maintain, "failed", f != nil)
		results = append(results, ended(r, f, began, m.Now()))
	}
	return summary(results, "maintained")
}

// keeper is the work in one repository.
type keeper struct {
	m         *Mover
	t         task.Task
	store     backend.Store
	work      *task.Keep
	directory string
	engine    repository.Engine
}

func (k *keeper) do(ctx context.Context, storage repository.Storage, r *task.ComponentResult) (err error) {
	if k.directory, err = layout.NormalizeDirectory(k.work.Repository.Directory); err != nil {
		return failure.New(v1alpha1.ReasonInvalidPath, err.Error())
	}
	if k.work.Wipe {
		return k.wipe(ctx)
	}
	if err := k.owned(ctx); err != nil {
		return err
	}
	rep, err := k.m.repository(k.t, storage)
	if err != nil {
		return err
	}
	if k.engine, err = k.m.Driver.Open(ctx, rep); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.engine.Close(context.WithoutCancel(ctx))) }()
	if err := k.remove(ctx); err != nil {
		return err
	}
	if k.work.Scan != "" {
		if err := k.scan(ctx, r); err != nil {
			return err
		}
	}
	if k.work.Maintain == "" {
		return nil
	}
	if err := k.engine.Maintain(ctx,
		repository.MaintainOptions{Full: k.work.Maintain == task.MaintainFull}); err != nil {
		return err
	}
	if r.SizeBytes, err = k.engine.Usage(ctx); err != nil {
		return err
	}
	return k.check(ctx, r)
}

const (
	// checkTimeout bounds a check. A check that takes longer is given up and has no result.
	checkTimeout = 2 * time.Hour
	// maxDamaged is the number of damaged components for which the result of a repository has room.
	maxDamaged = 16
)

// check finds out which components have all their data in the repository. If more are damaged than the result has
// room for, it covers only the components up to the last one that fits.
func (k *keeper) check(ctx context.Context, r *task.ComponentResult) error {
	if len(k.work.Check) == 0 {
		return nil
	}
	ids := make([]string, len(k.work.Check))
	for i, c := range k.work.Check {
		ids[i] = c.ID
	}
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	damaged, err := k.engine.Check(bounded, ids)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		k.m.Log.Info("give up the check, which took too long", "repository", k.work.Repository.Name, "components",
			len(ids))
		return nil
	}
	if err != nil {
		return err
	}
	r.Verified = int64(len(ids))
	for i, id := range ids {
		if !slices.Contains(damaged, id) {
			continue
		}
		if r.Damaged = append(r.Damaged, i); len(r.Damaged) == maxDamaged {
			r.Verified = int64(i + 1)
			break
		}
	}
	return nil
}

// owned verifies that the directory still belongs to the Repository: nothing is removed from the directory of another
// one.
func (k *keeper) owned(ctx context.Context) error {
	text, err := k.store.Get(ctx, layout.RepositoryPath(k.directory))
	if errors.Is(err, backend.ErrNotFound) {
		return failure.New(v1alpha1.ReasonRepositoryNotFound,
			fmt.Sprintf("directory %s holds no repository.yaml", k.directory))
	}
	if err != nil {
		return err
	}
	meta, err := layout.ParseRepositoryMetadata(text)
	if err != nil {
		return failure.New(v1alpha1.ReasonRepositoryDamaged, "repository.yaml exists but can't be used: "+err.Error())
	}
	if meta.ClusterUID != k.t.Cluster || meta.RepositoryUID != string(k.work.Repository.UID) {
		return failure.New(v1alpha1.ReasonDirectoryTaken,
			fmt.Sprintf("directory %s now belongs to Repository %s/%s, or to another cluster: nothing was removed",
				k.directory, meta.RepositoryNamespace, meta.RepositoryName))
	}
	return nil
}

// wipe removes the directory. repository.yaml, which names the owner, goes last, so that an interrupted wipe can go
// on.
func (k *keeper) wipe(ctx context.Context) error {
	files, err := k.store.List(ctx, k.directory)
	if err != nil || len(files) == 0 {
		return err
	}
	if !slices.Contains(files, layout.RepositoryPath(k.directory)) {
		return failure.New(v1alpha1.ReasonRepositoryNotFound, fmt.Sprintf(
			"directory %s holds files but no repository.yaml that names their owner: remove it by hand", k.directory))
	}
	if err := k.owned(ctx); err != nil {
		return err
	}
	for _, part := range layout.Parts(k.directory) {
		if err := k.store.DeleteAll(ctx, part); err != nil {
			return err
		}
	}
	rest, err := k.store.List(ctx, k.directory)
	if err != nil {
		return err
	}
	for _, file := range rest {
		if file == layout.RepositoryPath(k.directory) {
			continue
		}
		if err := k.store.Delete(ctx, file); err != nil {
			return err
		}
	}
	// from here on the directory can belong to another Repository
	return k.store.Delete(ctx, layout.RepositoryPath(k.directory))
}

const (
	// maxDeletions is how often one run deletes data that comes back.
	maxDeletions = 3
	// rememberFor is how long a removal is watched. It is longer than any writer can hold an old state of the
	// repository.
	rememberFor = 72 * time.Hour
)

// remove deletes the Snapshots, and what earlier removals left or what came back of them, and verifies that all of it
// is gone. It writes down what to remove before it removes anything.
func (k *keeper) remove(ctx context.Context) error {
	removals, err := k.removals(ctx)
	if err != nil {
		return err
	}
	for _, s := range k.work.Remove {
		r := removals[string(s.UID)]
		if r == nil {
			r = &layout.Removal{Snapshot: s.Name, SnapshotUID: string(s.UID)}
			removals[r.SnapshotUID] = r
		}
		for _, id := range s.IDs {
			if !slices.Contains(r.IDs, id) {
				r.IDs = append(r.IDs, id)
			}
		}
		if err := k.remember(ctx, r); err != nil {
			return err
		}
	}
	if len(removals) == 0 {
		return nil
	}
	if err := k.delete(ctx, removals); err != nil {
		return err
	}
	for _, s := range k.work.Remove {
		if err := k.store.DeleteAll(ctx, layout.SnapshotPath(k.directory, s.Name)); err != nil {
			return err
		}
	}
	return k.forget(ctx, removals)
}

// removals reads the remembered removals, by the UIDs of their Snapshots.
func (k *keeper) removals(ctx context.Context) (map[string]*layout.Removal, error) {
	files, err := k.store.List(ctx, layout.RemovedPath(k.directory))
	if err != nil {
		return nil, err
	}
	out := map[string]*layout.Removal{}
	for _, file := range files {
		text, err := k.store.Get(ctx, file)
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, err := layout.ParseRemoval(text)
		if err != nil {
			return nil, failure.New(v1alpha1.ReasonRepositoryDamaged, file+" exists but can't be used: "+err.Error())
		}
		out[r.SnapshotUID] = &r
	}
	return out, nil
}

// remember writes a removal down, with the present time as the last time its data was seen.
func (k *keeper) remember(ctx context.Context, r *layout.Removal) error {
	r.Seen = k.m.Now().Truncate(time.Second)
	text, err := r.Marshal()
	if err != nil {
		return fmt.Errorf("encode removal: %w", err)
	}
	return k.store.Put(ctx, layout.RemovalPath(k.directory, r.SnapshotUID), text)
}

// delete deletes what the removals name until a listing no longer shows any of it.
func (k *keeper) delete(ctx context.Context, removals map[string]*layout.Removal) error {
	for range maxDeletions {
		present, err := k.present(ctx, removals)
		if err != nil || len(present) == 0 {
			return err
		}
		ids := make([]string, 0, len(present))
		for id, r := range present {
			ids = append(ids, id)
			if err := k.remember(ctx, r); err != nil {
				return err
			}
		}
		slices.Sort(ids)
		if err := k.engine.Delete(ctx, ids...); err != nil {
			return err
		}
	}
	present, err := k.present(ctx, removals)
	if err == nil && len(present) > 0 {
		err = failure.New(v1alpha1.ReasonRemovalPending,
			"deleted data came back while another client wrote to the repository: it will be deleted again later")
	}
	return err
}

// present returns the engine's snapshots that still exist but are to be removed.
func (k *keeper) present(ctx context.Context, removals map[string]*layout.Removal) (map[string]*layout.Removal, error) {
	all, err := k.engine.List(ctx, "")
	if err != nil {
		return nil, err
	}
	byID := map[string]*layout.Removal{}
	for _, r := range removals {
		for _, id := range r.IDs {
			byID[id] = r
		}
	}
	out := map[string]*layout.Removal{}
	for _, s := range all {
		r := removals[s.Tags[judge.TagSnapshotUID]]
		if r == nil {
			r = byID[s.ID]
		}
		if r != nil {
			out[s.ID] = r
		}
	}
	return out, nil
}

// forget drops the removals whose data was not seen for long enough.
func (k *keeper) forget(ctx context.Context, removals map[string]*layout.Removal) error {
	for _, r := range removals {
		if k.m.Now().Sub(r.Seen) < rememberFor {
			continue
		}
		if err := k.store.Delete(ctx, layout.RemovalPath(k.directory, r.SnapshotUID)); err != nil {
			return err
		}
	}
	return nil
}
