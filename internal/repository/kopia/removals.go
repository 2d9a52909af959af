package kopia

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/snapshot"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

// kopia writes down the removal of a manifest as another one, and drops both when it moves all manifests into one
// content. That is right only if it has read all of them: what is lost can come back, and describe a snapshot that was
// removed. So contents with removals stay where they are while anything is lost.

// GetContent returns a content with manifests, and notes whether it holds removals.
func (r *readable) GetContent(ctx context.Context, id content.ID) ([]byte, error) {
	b, err := r.WriteManager.GetContent(ctx, id)
	if err == nil && holdsRemoval(b) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.removals == nil {
			r.removals = map[content.ID]bool{}
		}
		r.removals[id] = true
	}
	return b, err
}

// DeleteContent deletes a content from which manifests were moved, unless it holds removals.
func (r *readable) DeleteContent(ctx context.Context, id content.ID) error {
	r.mu.Lock()
	stays := r.removals[id]
	r.mu.Unlock()
	if stays {
		return nil
	}
	return r.WriteManager.DeleteContent(ctx, id)
}

// holdsRemoval reports whether a content with manifests holds a removal. kopia itself fails on one that it can't
// decode.
func holdsRemoval(b []byte) bool {
	gz, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return false
	}
	var list struct {
		Entries []struct {
			Deleted bool `json:"deleted"`
		} `json:"entries"`
	}
	if err := json.NewDecoder(gz).Decode(&list); err != nil {
		return false
	}
	for _, e := range list.Entries {
		if e.Deleted {
			return true
		}
	}
	return false
}

// nameBack returns why a maintenance failed. If the storage loses only what tells that a snapshot was removed, that is
// there again without its data, and no maintenance can go on. Nothing tells it for certain from a snapshot of which the
// storage does not show the index and the component result for now, so it is named and stays.
func nameBack(
	ctx context.Context, rep repo.Repository, failed error, needed func(context.Context) (map[string]string, error),
) error {
	if needed == nil {
		return failed
	}
	names, err := needed(ctx)
	if err != nil {
		return failed
	}
	all, err := snapshot.ListSnapshotManifests(ctx, rep, nil, nil)
	if err != nil {
		return failed
	}
	var back []string
	for _, id := range all {
		if names[string(id)] != "" {
			continue
		}
		man, err := snapshot.LoadSnapshot(ctx, rep, id)
		if err != nil || man.RootEntry == nil {
			continue
		}
		if _, err := rep.VerifyObject(ctx, man.RootObjectID()); errors.Is(err, content.ErrContentNotFound) {
			back = append(back, string(id))
		}
	}
	if len(back) == 0 {
		return failed
	}
	return &repository.Error{
		Op: "maintain", Kind: repository.ErrCorrupt,
		Err: fmt.Errorf("the repository lists %s that no Snapshot needs and whose data is gone. Most likely they were "+
			"removed, and the storage has lost the note of that. Delete them with kopia's own program (kopia snapshot "+
			"delete --delete ID): %s. %w", text.Quantity(len(back), "backup"), text.FirstFew(back), failed),
	}
}
