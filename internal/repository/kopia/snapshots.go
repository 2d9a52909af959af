package kopia

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/cairn-backup/cairn/internal/repository"
)

func toSnapshot(m *snapshot.Manifest, d details) repository.Snapshot {
	s := repository.Snapshot{
		ID: string(m.ID), Source: m.Source.Path, Start: m.StartTime.ToTime(), End: m.EndTime.ToTime(),
		Files: d.Files, Bytes: d.Bytes, Dirs: d.Dirs, Symlinks: d.Symlinks, HardLinks: d.HardLinks, Special: d.Special,
		Sockets:    d.Sockets,
		Unreadable: d.Unreadable, AttributesUnreadable: d.AttributesUnreadable, Vanished: d.Vanished,
		Changed: d.Changed, Restless: d.Restless, Attributes: d.Attributes, Unmatched: d.Unmatched,
	}
	s.FullRead, _ = fullReadOf(m)
	if d.Stream {
		s.FullRead = s.Start
	}
	for k, v := range m.Tags {
		if k, ok := strings.CutPrefix(k, tagPrefix); ok {
			if s.Tags == nil {
				s.Tags = map[string]string{}
			}
			s.Tags[k] = v
		}
	}
	return s
}

// List returns the complete snapshots of a source, oldest first.
func (e *repoEngine) List(ctx context.Context, name string) ([]repository.Snapshot, error) {
	if name == "" {
		return e.list(ctx, nil, nil)
	}
	s := source(name)
	return e.list(ctx, &s, nil)
}

// FindByTags returns the complete snapshots that carry all of tags, oldest first.
func (e *repoEngine) FindByTags(ctx context.Context, tags map[string]string) ([]repository.Snapshot, error) {
	if len(tags) == 0 {
		return nil, errors.New("find snapshots: no tags given")
	}
	return e.list(ctx, nil, prefixed(tags))
}

func (e *repoEngine) list(
	ctx context.Context, si *snapshot.SourceInfo, tags map[string]string,
) ([]repository.Snapshot, error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	if err := e.rep.Refresh(ctx); err != nil {
		return nil, classify("list", cause(ctx, err))
	}
	ids, err := snapshot.ListSnapshotManifests(ctx, e.rep, si, tags)
	if err != nil {
		return nil, classify("list", cause(ctx, err))
	}
	mans, err := snapshot.LoadSnapshots(ctx, e.rep, ids)
	if err != nil {
		return nil, classify("list", cause(ctx, err))
	}
	if len(mans) != len(ids) { // LoadSnapshots logs and drops what it cannot read
		return nil,
			&repository.Error{
				Op: "list", Kind: repository.ErrCorrupt,
				Err: fmt.Errorf("%d of %d snapshots unreadable", len(ids)-len(mans), len(ids)),
			}
	}
	var out []repository.Snapshot
	for _, m := range snapshot.SortByTime(mans, false) {
		if m.IncompleteReason == "" {
			out = append(out, toSnapshot(m, parseDetails(m)))
		}
	}
	return out, nil
}

// parseDetails returns the details of a snapshot. For snapshots of kopia's own program it takes them from the
// summary.
func parseDetails(m *snapshot.Manifest) (d details) {
	if json.Unmarshal([]byte(m.Description), &d) != nil && m.RootEntry != nil && m.RootEntry.DirSummary != nil {
		d.Files, d.Bytes = m.RootEntry.DirSummary.TotalFileCount, m.RootEntry.DirSummary.TotalFileSize
	}
	return d
}

// Delete deletes snapshots. It never deletes another kind of manifest. An unknown id is no error.
func (e *repoEngine) Delete(ctx context.Context, ids ...string) error {
	ctx, stop := e.ctx(ctx)
	defer stop()
	return classify("delete",
		cause(ctx, repo.WriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "delete"},
			func(ctx context.Context, w repo.RepositoryWriter) error {
				for _, id := range ids {
					// DeleteManifest deletes any manifest, policies too, so check first that the id is a snapshot's.
					if _, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(id)); errors.Is(err,
						snapshot.ErrSnapshotNotFound) {
						continue
					} else if err != nil {
						return err
					}
					if err := w.DeleteManifest(ctx, manifest.ID(id)); err != nil {
						return err
					}
				}
				return nil
			})))
}
