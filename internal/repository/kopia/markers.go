package kopia

import (
	"context"
	"errors"
	"strings"

	"github.com/kopia/kopia/repo/blob"

	"github.com/cairn-backup/cairn/internal/repository"
)

// sessionMarker begins the ids of the blobs by which kopia marks a writer at work.
const sessionMarker = "s"

// markers lets a writer without the right to delete finish: it can't take its session marker away. Maintenance removes one
// that is left after four days.
type markers struct{ blob.Storage }

// DeleteBlob implements blob.Storage.
func (m markers) DeleteBlob(ctx context.Context, id blob.ID) error {
	err := m.Storage.DeleteBlob(ctx, id)
	if err != nil && strings.HasPrefix(string(id), sessionMarker) && errors.Is(kindOf(err), repository.ErrAccessDenied) {
		return nil
	}
	return err
}
