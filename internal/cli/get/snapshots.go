package get

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/policy"
)

func loadSnapshots(ctx context.Context, s scope) (resourceView, error) {
	var list v1alpha1.SnapshotList
	if err := s.list(ctx, &list, true); err != nil {
		return resourceView{}, err
	}
	newestFirst(list.Items)
	t := &command.Table{
		Header: s.header("NAME", "REPOSITORY", "TARGET", "COMPONENTS", "SIZE", "UPLOADED", "FILES", "PHASE",
			"HALF-RESTORED", "AGE"),
		Optional: []string{"HALF-RESTORED"},
	}
	for i := range list.Items {
		snapshot := &list.Items[i]
		c := componentsOf(&snapshot.Status)
		t.Add(s.cells(snapshot.Namespace, snapshot.Name, snapshot.Spec.Repository,
			snapshot.Spec.AppRef.String(), c.done,
			c.size, c.uploaded, c.files,
			command.Phase(string(snapshot.Status.Phase)),
			command.OrNone(snapshot.Annotations[v1alpha1.AnnotationHalfRestored]),
			command.Age(s.now, &snapshot.CreationTimestamp))...)
		if snapshot.Status.Phase == v1alpha1.SnapshotFailed {
			t.Note(NotReady(snapshot.Status.Conditions))
		}
		if s.name == "" {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(snapshot.Status.Components)) {
			t.Note("component " + name + ": " + command.ComponentState(snapshot.Status.Components[name]))
		}
	}
	return resourceView{objects: objectsOf(list.Items), tables: []*command.Table{t}}, nil
}

// components sums up the components of a Snapshot for a table.
type components struct {
	done, size, uploaded, files string
}

func componentsOf(s *v1alpha1.SnapshotStatus) components {
	out := components{done: command.None, size: command.None, uploaded: command.None, files: command.None}
	var size, uploaded, files int64
	done := 0
	for _, c := range s.Components {
		size, uploaded, files = size+c.SizeBytes, uploaded+c.UploadedBytes, files+c.Files
		if c.Phase == v1alpha1.SnapshotSucceeded {
			done++
		}
	}
	if total := max(int(s.TotalComponents), len(s.Components)); total > 0 {
		out.done = fmt.Sprintf("%d/%d", done, total)
	}
	if done > 0 {
		out.size, out.uploaded, out.files = command.ShortSize(float64(size)), command.ShortSize(float64(uploaded)),
			strconv.FormatInt(
				files, 10)
	}
	return out
}

// LoadRepositories loads the Repositories of a scope and their table.
func LoadRepositories(ctx context.Context, s scope) (resourceView, error) {
	var list v1alpha1.RepositoryList
	if err := s.list(ctx, &list, true); err != nil {
		return resourceView{}, err
	}
	t := &command.Table{
		Header: s.header("NAME", "TARGET", "STORAGE", "DIRECTORY", "SNAPSHOTS", "SIZE", "LAST-BACKUP", "PHASE",
			"AGE"),
	}
	for i := range list.Items {
		r := &list.Items[i]
		storage, directory := r.Spec.StorageRef.Name, r.Spec.Path
		if policy.HoldsVolumeSnapshots(r) {
			storage, directory = command.None, command.None
		}
		if ns := r.Spec.StorageRef.Namespace; ns != "" && ns != r.Namespace {
			storage = ns + "/" + storage
		}
		target := command.None // its first policy will name it
		if r.Spec.AppRef.Name != "" {
			target = r.Spec.AppRef.String()
		}
		snapshots := command.None
		if r.Status.SnapshotCount != nil {
			snapshots = strconv.Itoa(int(*r.Status.SnapshotCount))
		}
		t.Add(s.cells(r.Namespace, r.Name, target, storage, directory, snapshots, command.SumSizes(r.Status.Size),
			command.Age(s.now, r.Status.LastBackupTime), command.OrNone(r.Status.Phase),
			command.Age(s.now, &r.CreationTimestamp))...)
		t.Note(NotReady(r.Status.Conditions))
	}
	return resourceView{objects: objectsOf(list.Items), tables: []*command.Table{t}}, nil
}
