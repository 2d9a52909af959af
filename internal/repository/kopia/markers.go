package kopia

import (
	"context"
	"errors"
	"strings"

	"github.com/kopia/kopia/repo/blob"

	"github.com/cairn-backup/cairn/internal/repository"
)

// sessionMarker is the first letter of the blobs with which kopia marks a running writer.
const sessionMarker = "s"

// markers lets a writer finish that is not allowed to delete, and so cannot remove its session marker. Maintenance
// removes the marker after four days.
type markers struct{ blob.Storage }

// DeleteBlob implements blob.Storage.
func (m markers) DeleteBlob(ctx context.Context, id blob.ID) error {
	err := m.Storage.DeleteBlob(ctx, id)
	if err != nil && strings.HasPrefix(string(id), sessionMarker) &&
		errors.Is(kindOf(err), repository.ErrAccessDenied) {
		return nil
	}
	return err
}
