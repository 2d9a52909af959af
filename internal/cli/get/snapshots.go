package get

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
)

func loadSnapshots(ctx context.Context, s scope) (resourceView, error) {
	var list v1alpha1.SnapshotList
	if err := s.list(ctx, &list, true); err != nil {
		return resourceView{}, err
	}
	newestBackupFirst(list.Items)
	t := &command.Table{
		Header: s.header("NAME", "REPOSITORY", "TARGET", "COMPONENTS", "SIZE", "UPLOADED", "FILES", "PHASE",
			"INTEGRITY", "HALF-RESTORED", "SNAPSHOT-TIME", "AGE"),
		Optional: []string{"INTEGRITY", "HALF-RESTORED"},
	}
	for i := range list.Items {
		snapshot := &list.Items[i]
		c := componentsOf(&snapshot.Status)
		t.Add(s.cells(snapshot.Namespace, snapshot.Name, snapshot.Spec.Repository,
			snapshot.Spec.AppRef.String(), c.done,
			c.size, c.uploaded, c.files,
			command.Phase(string(snapshot.Status.Phase)), command.OrNone(damage(snapshot.Status.Integrity)),
			command.OrNone(task.RestoreOfMark(snapshot.Annotations[v1alpha1.AnnotationHalfRestored])), madeAt(snapshot),
			command.Age(s.now, &snapshot.CreationTimestamp))...)
		if snapshot.Status.Phase == v1alpha1.SnapshotFailed {
			t.Note(NotReady(snapshot.Status.Conditions))
		}
		if s.name == "" {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(snapshot.Status.Components)) {
			c := snapshot.Status.Components[name]
			state := command.ComponentState(c)
			if d := damage(c.Integrity); d != "" {
				state += ", " + d
			}
			t.Note("component " + name + ": " + state)
		}
	}
	return resourceView{objects: objectsOf(list.Items), tables: []*command.Table{t}}, nil
}

// newestBackupFirst sorts by the time of the backup, and those without one by their creation. A scan creates the
// Snapshots of years in one minute. Snapshots of the same time keep their order, by namespace and name.
func newestBackupFirst(items []v1alpha1.Snapshot) {
	slices.SortStableFunc(items, func(a, b v1alpha1.Snapshot) int {
		return retention.TimeOf(&b).Compare(retention.TimeOf(&a))
	})
}

// madeAt formats the time of a backup as "cairn restore --at" takes it.
func madeAt(s *v1alpha1.Snapshot) string {
	at := s.MadeAt()
	if at == nil {
		return command.None
	}
	return at.UTC().Format(time.RFC3339)
}

// damage returns the mark of what a check did not find whole, or "".
func damage(integrity *bool) string {
	if v1alpha1.Damaged(integrity) {
		return "damaged"
	}
	return ""
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
		t.Note(damageOf(r))
	}
	return resourceView{objects: objectsOf(list.Items), tables: []*command.Table{t}}, nil
}

// damageOf returns what the last check of a Repository did not find whole, or "".
func damageOf(r *v1alpha1.Repository) string {
	if damage(r.Status.Integrity) == "" {
		return ""
	}
	c := apimeta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionChecked)
	switch {
	case c == nil || c.Status != metav1.ConditionFalse:
	case c.Reason == v1alpha1.ReasonRepositoryNotFound:
		return "the repository was gone: " + c.Message
	case c.Reason == v1alpha1.ReasonRepositoryDamaged:
		return "damaged: " + c.Message
	}
	return "damaged: not all data was there at the last check (cairn get snapshots)"
}
