package kopia

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"

	"github.com/kopia/kopia/repo/content"
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
