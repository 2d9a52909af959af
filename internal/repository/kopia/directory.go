package kopia

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/cairn-backup/cairn/internal/repository"
)

// readDir reads a directory object. It does not use snapshotfs, which overwrites the times of subdirectories.
func (e *repoEngine) readDir(ctx context.Context, oid object.ID) (*snapshot.DirManifest, error) {
	var dm snapshot.DirManifest
	if err := decodeDir(ctx, e.rep, oid, &dm); err != nil {
		return nil, err
	}
	if dm.StreamType != dirStream {
		return nil, fmt.Errorf("malformed directory %v", oid)
	}
	return &dm, nil
}

// dirStream is the type of directory objects.
const dirStream = "kopia:directory"

// decodeDir reads the JSON of a directory object.
func decodeDir(ctx context.Context, rep repo.Repository, oid object.ID, into any) error {
	rd, err := rep.OpenObject(ctx, oid)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	if err := json.NewDecoder(rd).Decode(into); err != nil {
		return fmt.Errorf("malformed directory %v: %w", oid, err)
	}
	return nil
}

// find returns the entry at the path p below the directory de. Nothing is below a file or a symbolic link.
func (e *repoEngine) find(ctx context.Context, de *snapshot.DirEntry, p string) (*snapshot.DirEntry, error) {
	missing := &repository.Error{
		Op: "open", Kind: repository.ErrNotFound, Err: fmt.Errorf("no %q in the snapshot", p),
	}
	for c := range strings.SplitSeq(strings.Trim(path.Clean("/"+p), "/"), "/") {
		if c == "" {
			continue
		}
		if de.Type != snapshot.EntryTypeDirectory {
			return nil, missing
		}
		dm, err := e.readDir(ctx, de.ObjectID)
		if err != nil {
			return nil, err
		}
		de = nil
		for _, x := range dm.Entries {
			if x.Name == encodeName(c) {
				de = x
			}
		}
		if de == nil {
			return nil, missing
		}
	}
	return de, nil
}

func (e *repoEngine) attrsAt(ctx context.Context, root *snapshot.DirEntry, p string) (map[string]*record, error) {
	d, err := e.find(ctx, root, path.Dir(path.Clean("/"+p)))
	if err != nil {
		return nil, err
	}
	dm, err := e.readDir(ctx, d.ObjectID)
	if err != nil {
		return nil, err
	}
	return e.attrs(ctx, dm)
}

// attrs returns the records of a directory's attribute file, by name.
func (e *repoEngine) attrs(ctx context.Context, dm *snapshot.DirManifest) (map[string]*record, error) {
	for _, x := range dm.Entries {
		if x.Name != attrName {
			continue
		}
		rd, err := e.rep.OpenObject(ctx, x.ObjectID)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rd.Close() }()
		b, err := io.ReadAll(rd)
		if err != nil {
			return nil, err
		}
		recs, err := decodeAttrs(b)
		m := make(map[string]*record, len(recs))
		for i := range recs {
			m[recs[i].name] = &recs[i]
		}
		return m, err
	}
	return nil, nil
}
