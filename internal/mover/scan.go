package mover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/mover/removal"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// scan finds out which Snapshots lie in the repository, and stores the answer in ConfigMaps. A component counts only if
// the engine lists its data: a file beside the repository proves nothing.
func (k *keeper) scan(ctx context.Context, removals removal.Repository, r *task.ComponentResult) error {
	s := scan{k: k, results: map[string][]layout.ComponentResult{}}
	if err := s.data(ctx, removals); err != nil {
		return err
	}
	if err := s.files(ctx); err != nil {
		return err
	}
	pages := task.PageWriter{Write: func(page int, content []byte) error { return k.page(ctx, page, content) }}
	for _, name := range slices.Sorted(maps.Keys(s.results)) {
		found, ok := s.snapshot(name)
		if !ok {
			continue
		}
		if err := pages.Add(found); errors.Is(err, task.ErrTooManyFound) {
			return failure.New(v1alpha1.ReasonFailed, err.Error())
		} else if err != nil {
			return err
		}
	}
	count, digest, err := pages.Close()
	if errors.Is(err, task.ErrTooManyFound) {
		return failure.New(v1alpha1.ReasonFailed, err.Error())
	}
	if err != nil {
		return err
	}
	r.Scan = &task.Scan{Pages: count, Digest: digest, Unreadable: s.unreadable, Unknown: int32(len(s.byID))}
	return nil
}

// page stores a page of the answer. A page of that name is the one of an earlier try, whose answer was lost; the
// manager compares the digest.
func (k *keeper) page(ctx context.Context, page int, content []byte) error {
	maker := k.m.objectMaker(k.t, corev1.SchemeGroupVersion.WithResource("configmaps"))
	_, err := maker.create(ctx, &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: k.t.Namespace, Name: task.PageName(k.m.Job, page),
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelScan: k.m.Job,
			},
		},
		Immutable:  new(true),
		BinaryData: map[string][]byte{task.PageKey: content},
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return failure.New(v1alpha1.ReasonFailed, fmt.Sprintf("can't store what was found in the repository: %v", err))
	}
	return nil
}

// scan is a scan in progress.
type scan struct {
	k *keeper
	// byID are the backups in the repository that belong to no Snapshot yet, without those that were removed.
	byID map[string]repository.Snapshot
	// removedUIDs and removedIDs name the Snapshots and the data that were removed.
	removedUIDs, removedIDs map[string]bool
	// results are the component results by Snapshot.
	mu         sync.Mutex
	results    map[string][]layout.ComponentResult
	unreadable int32
}

// data lists what the engine has. What was removed can come back while others write, and is deleted again later: it
// must not become a Snapshot.
func (s *scan) data(ctx context.Context, from removal.Repository) error {
	all, err := s.k.engine.List(ctx, "")
	if err != nil {
		return err
	}
	removals, err := from.Remembered(ctx)
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
	s.byID = map[string]repository.Snapshot{}
	for _, x := range all {
		if !s.removedIDs[x.ID] && !s.removedUIDs[x.Tags[judge.TagSnapshotUID]] {
			s.byID[x.ID] = x
		}
	}
	return nil
}

// readsAtOnce is how many component results are read concurrently.
const readsAtOnce = 8

// files reads the component results.
func (s *scan) files(ctx context.Context) error {
	paths, err := s.k.store.List(ctx, layout.SnapshotsPath(s.k.directory))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for _, path := range paths {
		name, component, ok := layout.ParseSnapshotComponentPath(s.k.directory, path)
		if !ok {
			continue
		}
		group.Go(func() error { return s.file(ctx, path, name, component) })
	}
	return group.Wait()
}

func (s *scan) file(ctx context.Context, path, name, component string) error {
	text, err := s.k.store.Get(ctx, path)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := layout.ParseComponentResult(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || c.Snapshot != name || c.Component != component {
		s.unreadable++
		s.k.m.Log.Warn("leaves out a component result that can't be understood", "snapshot", name,
			"component", component)
		return nil
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
		Name: c.Component, Path: c.Path, StartTime: timeOf(c.Start), CompletionTime: timeOf(c.End),
		Outcome: task.OutcomeFailed, UploadedBytes: c.Uploaded,
	}
	data, exists := s.byID[c.ID]
	switch {
	case c.Phase != string(task.OutcomeSucceeded):
		r.Reason, r.Error = task.ReasonOfFailure(c.Reason), c.Error
	case !exists || data.Tags[judge.TagSnapshotUID] != c.SnapshotUID:
		r.Reason, r.Error = v1alpha1.ReasonSnapshotNotFound, "the repository no longer holds the data"
	default:
		uploaded := r.UploadedBytes
		r = withSnapshot(r, data, nil)
		r.Outcome, r.UploadedBytes = task.OutcomeSucceeded, uploaded
		r.Duration = c.End.Sub(c.Start).String()
		delete(s.byID, c.ID)
	}
	return r.Component(s.k.work.Repository.Driver)
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
		r := withSnapshot(task.ComponentResult{
			Name: component, StartTime: timeOf(data.Start), CompletionTime: timeOf(data.End),
			Outcome: task.OutcomeSucceeded, Duration: data.End.Sub(data.Start).String(),
		}, data, nil)
		f.Components[component] = r.Component(s.k.work.Repository.Driver)
		delete(s.byID, id)
	}
}
