package report

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// WithSnapshot copies the figures of the engine's snapshot.
func WithSnapshot(r task.ComponentResult, s repository.Snapshot, previous *repository.Snapshot) task.ComponentResult {
	r.ID, r.SizeBytes, r.UploadedBytes = s.ID, s.Bytes, s.BytesSent
	r.ComponentCounts = v1alpha1.ComponentCounts{
		Files: s.Files, Directories: s.Dirs, Symlinks: s.Symlinks, HardLinks: s.HardLinks, Special: s.Special,
		Sockets:    s.Sockets,
		Unreadable: s.Unreadable, AttributesUnreadable: s.AttributesUnreadable, Vanished: s.Vanished,
		Changed: s.Changed, Restless: s.Restless,
	}
	r.UnmatchedPatterns = task.Patterns(s.Unmatched)
	if previous != nil {
		r.PreviousSizeBytes = previous.Bytes
	}
	return r
}

// TimeOf returns t in seconds, as in the status.
func TimeOf(t time.Time) *metav1.Time { return new(metav1.NewTime(t.UTC().Truncate(time.Second))) }
