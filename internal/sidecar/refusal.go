package sidecar

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// TaskRefusal explains why no sidecar can carry out a task of a run or restore, or returns nil. kind is what the mover
// does in such a task.
func TaskRefusal(t *v1alpha1.ResolvedTask, kind task.Kind) *v1alpha1.ResolvedError {
	switch {
	case len(t.Steps) > 0:
		return needsJob("the task has steps before the mover, for which a sidecar has no containers")
	case len(t.Volumes) > 0:
		return needsJob("the task brings volumes along, which a sidecar can't mount")
	case t.MoverImage != "":
		return needsJob("Function %s runs programs of an image of its own, which a sidecar does not have", t.Function)
	case len(t.Args) == 0 || t.Args[0] != string(kind):
		return needsJob("Function %s does more than the mover of a sidecar can", t.Function)
	}
	return nil
}

// StorageRefusal explains why no sidecar can use a storage, or returns nil.
func StorageRefusal(s *v1alpha1.BackupStorage) *v1alpha1.ResolvedError {
	if s.Spec.Storage.Local == nil {
		return nil
	}
	return needsJob("BackupStorage %s/%s is on a volume, which a sidecar does not mount", s.Namespace, s.Name)
}

func needsJob(format string, args ...any) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{
		Reason:  v1alpha1.ReasonSidecarNotPossible,
		Message: fmt.Sprintf(format, args...) + ": take executor Job",
	}
}
