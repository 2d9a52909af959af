// Package scan finds out which Snapshots lie in a repository. Invariant: a component counts only if the engine lists
// its data, because a file beside the repository proves nothing.
package scan

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/mover/removal"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// Repository is the repository that is scanned.
type Repository struct {
	Engine repository.Engine
	// Store is the storage, and Directory the normalized directory of the repository in it.
	Store     backend.Store
	Directory string
	// Removals remembers what was removed.
	Removals removal.Repository
	// Driver of the repository.
	Driver v1alpha1.Driver
	// Log gets the component results that can't be understood.
	Log *slog.Logger
}

// Find calls each for every Snapshot, by name, until it returns an error. It returns how many component results could
// not be understood, and how many backups belong to no Snapshot.
func (x Repository) Find(ctx context.Context, each func(task.Found) error) (unreadable, unknown int32, err error) {
	s := scan{Repository: x, results: map[string][]layout.ComponentResult{}}
	if err := s.data(ctx); err != nil {
		return 0, 0, err
	}
	if err := eachResult(ctx, s.Store, s.Directory, s.file); err != nil {
		return 0, 0, err
	}
	for _, name := range slices.Sorted(maps.Keys(s.results)) {
		found, ok := s.snapshot(name)
		if !ok {
			continue
		}
		if err := each(found); err != nil {
			return 0, 0, err
		}
	}
	return s.unreadable, int32(len(s.byID)), nil
}

// scan is a scan in progress.
type scan struct {
	Repository
	// byID are the backups in the repository that belong to no Snapshot yet, without those that were removed.
	byID map[string]repository.Snapshot
	// lost says that the storage has lost descriptions of backups: byID lacks some of which the data can be there.
	lost bool
	// removedUIDs and removedIDs name the Snapshots and the data that were removed.
	removedUIDs, removedIDs map[string]bool
	// results are the component results by Snapshot.
	mu         sync.Mutex
	results    map[string][]layout.ComponentResult
	text       int // bytes of the files that the results come from
	unreadable int32
}

const (
	// maxText bounds the files that a scan keeps, in bytes. An answer has no room for more.
	maxText = 128 << 20
	// maxNamed is how many of the files that can't be understood have a line in the log. The answer counts all.
	maxNamed = 10
)

// data lists what the engine has. What was removed can come back while others write, and is deleted again later: it
// must not become a Snapshot.
func (s *scan) data(ctx context.Context) error {
	all, err := s.Engine.List(ctx, "")
	if err != nil {
		return err
	}
	removals, err := s.Removals.Remembered(ctx)
	if err != nil {
		return err
	}
	s.removedUIDs, s.removedIDs = map[string]bool{}, map[string]bool{}
	for uid, r := range removals {
		s.removedUIDs[uid] = true
		for _, id := range r.IDs {
			s.removedIDs[id] = true
		}
	}
	s.byID, s.lost = map[string]repository.Snapshot{}, s.Engine.Lost()
	for _, x := range all {
		if !s.removedIDs[x.ID] && !s.removedUIDs[x.Tags[judge.TagSnapshotUID]] {
			s.byID[x.ID] = x
		}
	}
	return nil
}

// readsAtOnce is how many component results are read concurrently.
const readsAtOnce = 8

// result is the file of a component result.
type result struct {
	path, snapshot, component string
	text                      []byte
}

// eachResult calls do for each component result in a directory, several at once. It leaves out what goes meanwhile.
func eachResult(ctx context.Context, store backend.Store, directory string, do func(result) error) error {
	paths, err := store.List(ctx, layout.SnapshotsPath(directory))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for _, path := range paths {
		name, component, ok := layout.ParseSnapshotComponentPath(directory, path)
		if !ok {
			continue
		}
		group.Go(func() error {
			text, err := store.Get(ctx, path)
			if errors.Is(err, backend.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return do(result{path, name, component, text})
		})
	}
	return group.Wait()
}

// file takes in a component result.
func (s *scan) file(r result) error {
	name, component, text := r.snapshot, r.component, r.text
	c, err := layout.ParseComponentResult(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || c.Snapshot != name || c.Component != component {
		if s.unreadable++; s.unreadable <= maxNamed {
			s.Log.Warn("leaves out a component result that can't be understood", "snapshot", name,
				"component", component)
		}
		return nil
	}
	if s.text += len(text); s.text > maxText {
		return task.ErrTooManyFound
	}
	s.results[name] = append(s.results[name], c)
	return nil
}

// snapshot puts a Snapshot together. ok is false for a Snapshot that was removed.
func (s *scan) snapshot(name string) (f task.Found, ok bool) {
	results := s.results[name]
	slices.SortFunc(results, func(a, b layout.ComponentResult) int { return b.End.Compare(a.End) })
	// Two Snapshots of one name can have been made one after the other. The later one wrote last.
	newest := results[0]
	f = task.Found{
		Name: name, UID: types.UID(newest.SnapshotUID), Labels: newest.Of.Labels, Total: newest.Of.Components,
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: newest.Of.SnapshotID, Session: newest.Of.Session, BackupSession: newest.Of.BackupSession,
			Type: v1alpha1.FullBackup, Version: v1alpha1.SnapshotLayoutVersion,
			AppRef: v1alpha1.TypedObjectReference{
				APIGroup: newest.Of.AppRef.APIGroup, Kind: newest.Of.AppRef.Kind, Namespace: newest.Of.AppRef.Namespace,
				Name: newest.Of.AppRef.Name,
			},
		},
		Components: map[string]v1alpha1.Component{},
	}
	for _, c := range results {
		if c.SnapshotUID == newest.SnapshotUID {
			f.Components[c.Component] = s.component(c)
			// An earlier version can have made a part.
			f.HalfRestored = cmp.Or(f.HalfRestored, task.RestoreOfMark(c.Of.HalfRestored))
		}
	}
	s.unwritten(&f)
	return f, !s.wasRemoved(results)
}

// wasRemoved reports whether a Snapshot was removed: what is left of it is on its way out.
func (s *scan) wasRemoved(results []layout.ComponentResult) bool {
	return slices.ContainsFunc(results, func(c layout.ComponentResult) bool {
		return s.removedUIDs[c.SnapshotUID] || s.removedIDs[c.ID]
	})
}

// component describes a component by its result and by the data that the engine has.
func (s *scan) component(c layout.ComponentResult) v1alpha1.Component {
	r := task.ComponentResult{
		Name: c.Component, Path: c.Path, StartTime: report.TimeOf(c.Start), CompletionTime: report.TimeOf(c.End),
		Outcome: task.OutcomeFailed, UploadedBytes: c.Uploaded,
	}
	data, exists := s.byID[c.ID]
	switch {
	case c.Phase != string(task.OutcomeSucceeded):
		r.Reason, r.Error = task.ReasonOfFailure(c.Reason), c.Error
	case !exists && s.lost:
		// Not failed, which it would stay for ever: a check finds it damaged, and whole if the description comes back.
		r.ID, r.Outcome, r.Duration = c.ID, task.OutcomeSucceeded, c.End.Sub(c.Start).String()
	case !exists || data.Tags[judge.TagSnapshotUID] != c.SnapshotUID:
		r.Reason, r.Error = v1alpha1.ReasonSnapshotNotFound, "the repository no longer holds the data"
	default:
		uploaded := r.UploadedBytes
		r = report.WithSnapshot(r, data, nil)
		r.Outcome, r.UploadedBytes = task.OutcomeSucceeded, uploaded
		r.Duration = c.End.Sub(c.Start).String()
		delete(s.byID, c.ID)
	}
	return r.Component(s.Driver)
}

// unwritten adds the components whose data is complete although their results are missing: a mover was killed between
// the two.
func (s *scan) unwritten(f *task.Found) {
	for id, data := range s.byID {
		component := data.Tags[judge.TagComponent]
		if data.Tags[judge.TagSnapshotUID] != string(f.UID) || component == "" ||
			f.Components[component].Phase == v1alpha1.SnapshotSucceeded {
			continue
		}
		r := report.WithSnapshot(task.ComponentResult{
			Name: component, StartTime: report.TimeOf(data.Start), CompletionTime: report.TimeOf(data.End),
			Outcome: task.OutcomeSucceeded, Duration: data.End.Sub(data.Start).String(),
		}, data, nil)
		f.Components[component] = r.Component(s.Driver)
		delete(s.byID, id)
	}
}
