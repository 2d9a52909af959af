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

// readDir reads a directory object.
func (e *repoEngine) readDir(ctx context.Context, oid object.ID) (*snapshot.DirManifest, error) {
	o, err := readDir(ctx, e.rep, oid)
	if err != nil {
		return nil, err
	}
	return &o.DirManifest, nil
}

// dirObject is a directory object with its stamps.
type dirObject struct {
	snapshot.DirManifest
	// Stamps are those of the regular files in ascending order, each of stampSize bytes.
	Stamps []byte `json:"cairnStamps,omitempty"`
}

// readDir reads a directory object. It does not use snapshotfs, which overwrites the times of subdirectories.
func readDir(ctx context.Context, rep repo.Repository, oid object.ID) (*dirObject, error) {
	rd, err := rep.OpenObject(ctx, oid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rd.Close() }()
	var o dirObject
	if err := json.NewDecoder(rd).Decode(&o); err != nil {
		return nil, fmt.Errorf("malformed directory %v: %w", oid, err)
	}
	if o.StreamType != "kopia:directory" {
		return nil, fmt.Errorf("malformed directory %v", oid)
	}
	return &o, nil
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
