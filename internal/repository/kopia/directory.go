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
	return decodeDirBy(ctx, rep, oid, func(rd object.Reader) error {
		return json.NewDecoder(rd).Decode(into)
	})
}

// decodeDirBy lets decode read the JSON of a directory object.
func decodeDirBy(ctx context.Context, rep repo.Repository, oid object.ID, decode func(object.Reader) error) error {
	rd, err := rep.OpenObject(ctx, oid)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	if err := decode(rd); err != nil {
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

// mender puts files of other passes into the place of torn ones.
type mender struct {
	rep    repo.RepositoryWriter
	pass   *passed
	others []*passed
	dirs   map[string]bool // those with torn files below them
}

// storedDir is a directory as it is stored.
type storedDir struct {
	snapshot.DirManifest
	Stamps []byte `json:"cairnStamps,omitempty"`
}

// dir mends a directory, which has these entries in the other passes, and returns by how much its files grew. The entry
// of a torn file is that of another pass then. Perhaps that was another file of the same name, and the torn one has
// moved there. So the directory counts as restless.
func (m *mender) dir(
	ctx context.Context, rel string, de *snapshot.DirEntry, others []*snapshot.DirEntry,
) (grown int64, _ error) {
	if !m.dirs[rel] || len(others) == 0 {
		return 0, nil
	}
	var own storedDir
	if err := decodeDir(ctx, m.rep, de.ObjectID, &own); err != nil {
		return 0, err
	}
	there := make([]map[string]*snapshot.DirEntry, len(others))
	for i, o := range others {
		var dm snapshot.DirManifest
		if o != nil && o.Type == snapshot.EntryTypeDirectory {
			if err := decodeDir(ctx, m.rep, o.ObjectID, &dm); err != nil {
				return 0, err
			}
		}
		there[i] = make(map[string]*snapshot.DirEntry, len(dm.Entries))
		for _, x := range dm.Entries {
			there[i][x.Name] = x
		}
	}
	mended := false
	for i, x := range own.Entries {
		p := path.Join(rel, x.Name)
		if x.Type == snapshot.EntryTypeDirectory {
			below := make([]*snapshot.DirEntry, len(there))
			for k := range there {
				below[k] = there[k][x.Name]
			}
			n, err := m.dir(ctx, p, x, below)
			if err != nil {
				return 0, err
			}
			grown += n
		} else if by := m.whole(p, x, there); by != nil {
			own.Entries[i] = by
			grown += by.FileSize - x.FileSize
			mended = true
		}
	}
	if mended {
		m.pass.stirred.unrest(rel)
	}
	own.Summary.TotalFileSize += grown
	de.DirSummary = own.Summary
	var err error
	de.ObjectID, err = m.write(ctx, rel, &own)
	return grown, err
}

// whole returns the entry of a torn file in a pass that read it whole, and takes it from the torn ones.
func (m *mender) whole(p string, x *snapshot.DirEntry, there []map[string]*snapshot.DirEntry) *snapshot.DirEntry {
	wk := m.pass.walk
	if _, torn := wk.tornFiles[p]; !torn {
		return nil
	}
	for i, other := range m.others {
		by := there[i][x.Name]
		if _, torn := other.walk.tornFiles[p]; by != nil && by.Type == snapshot.EntryTypeFile && !torn {
			delete(wk.tornFiles, p)
			wk.changed.Add(-1)
			return by
		}
	}
	return nil
}

func (m *mender) write(ctx context.Context, rel string, d *storedDir) (object.ID, error) {
	w := m.rep.NewObjectWriter(ctx, object.WriterOptions{
		Description: "DIR:" + rel, Prefix: "k", Compressor: "zstd-fastest", MetadataCompressor: "zstd-fastest",
	})
	defer func() { _ = w.Close() }()
	if err := json.NewEncoder(w).Encode(d); err != nil {
		return object.EmptyID, err
	}
	return w.Result()
}
