package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

func loadSnapshots(ctx context.Context, s scope) (found, error) {
	var list v1alpha1.SnapshotList
	if err := s.list(ctx, &list, true); err != nil {
		return found{}, err
	}
	newestFirst(list.Items)
	t := &table{header: s.header("NAME", "REPOSITORY", "TARGET", "COMPONENTS", "SIZE", "UPLOADED", "FILES", "PHASE",
		"AGE")}
	for i := range list.Items {
		snapshot := &list.Items[i]
		c := componentsOf(&snapshot.Status)
		t.add(s.cells(snapshot.Namespace, snapshot.Name, snapshot.Spec.Repository, snapshot.Spec.AppRef.String(), c.done,
			c.size, c.uploaded, c.files,
			phase(string(snapshot.Status.Phase)), age(s.now, &snapshot.CreationTimestamp))...)
		if snapshot.Status.Phase == v1alpha1.SnapshotFailed {
			t.note(notReady(snapshot.Status.Conditions))
		}
		if s.name == "" {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(snapshot.Status.Components)) {
			t.note("component " + name + ": " + componentState(snapshot.Status.Components[name]))
		}
	}
	return found{objects: objectsOf(list.Items), tables: []*table{t}}, nil
}

// components sums up the components of a Snapshot for a table.
type components struct {
	done, size, uploaded, files string
}

func componentsOf(s *v1alpha1.SnapshotStatus) components {
	out := components{done: none, size: none, uploaded: none, files: none}
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
		out.size, out.uploaded, out.files = shortSize(float64(size)), shortSize(float64(uploaded)), strconv.FormatInt(
			files, 10)
	}
	return out
}

func loadRepositories(ctx context.Context, s scope) (found, error) {
	var list v1alpha1.RepositoryList
	if err := s.list(ctx, &list, true); err != nil {
		return found{}, err
	}
	t := &table{header: s.header("NAME", "TARGET", "STORAGE", "DIRECTORY", "SNAPSHOTS", "SIZE", "LAST-BACKUP", "PHASE",
		"AGE")}
	for i := range list.Items {
		r := &list.Items[i]
		storage, directory := r.Spec.StorageRef.Name, r.Spec.Path
		if policy.HoldsVolumeSnapshots(r) {
			storage, directory = none, none
		}
		if ns := r.Spec.StorageRef.Namespace; ns != "" && ns != r.Namespace {
			storage = ns + "/" + storage
		}
		target := none // its first policy will name it
		if r.Spec.AppRef.Name != "" {
			target = r.Spec.AppRef.String()
		}
		snapshots := none
		if r.Status.SnapshotCount != nil {
			snapshots = strconv.Itoa(int(*r.Status.SnapshotCount))
		}
		t.add(s.cells(r.Namespace, r.Name, target, storage, directory, snapshots, sumSizes(r.Status.Size),
			age(s.now, r.Status.LastBackupTime), orNone(r.Status.Phase), age(s.now, &r.CreationTimestamp))...)
		t.note(notReady(r.Status.Conditions))
	}
	return found{objects: objectsOf(list.Items), tables: []*table{t}}, nil
}
