package kopia

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/cairn-backup/cairn/internal/repository"
)

// ReadDir lists a directory of a snapshot, sorted by name.
func (e *repoEngine) ReadDir(ctx context.Context, id, p string) ([]repository.Entry, error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	out, err := e.listDir(ctx, id, p)
	return out, classify("read", cause(ctx, err))
}

func (e *repoEngine) listDir(ctx context.Context, id, p string) ([]repository.Entry, error) {
	man, err := e.manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	de, err := e.find(ctx, man.RootEntry, p)
	if err != nil {
		return nil, err
	}
	if de.Type != snapshot.EntryTypeDirectory {
		return nil, &repository.Error{Op: "read", Err: fmt.Errorf("%q is not a directory", p)}
	}
	dm, err := e.readDir(ctx, de.ObjectID)
	if err != nil {
		return nil, err
	}
	recs, err := e.attrs(ctx, dm)
	if err != nil {
		return nil, err
	}
	var out []repository.Entry
	for _, x := range dm.Entries {
		if x.Name == attrName {
			continue
		}
		name, err := decodeName(x.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, toEntry(name, x, recs[name]))
	}
	for name, rec := range recs {
		if rec.special != nil {
			out = append(out, repository.Entry{
				Name: name, Mode: fileMode(rec.special.mode) | specialType(rec.special.mode),
				UID: rec.special.uid, GID: rec.special.gid,
				ModTime: time.Unix(rec.special.time.sec, rec.special.time.nsec),
			})
		}
	}
	slices.SortFunc(out, func(a, b repository.Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// manifest loads a snapshot. It refreshes from the storage, which is slow, only where the snapshot is not known yet.
func (e *repoEngine) manifest(ctx context.Context, id string) (*snapshot.Manifest, error) {
	if man, err := snapshot.LoadSnapshot(ctx, e.rep, manifest.ID(id)); err == nil && man.IncompleteReason == "" &&
		man.RootEntry != nil {
		return man, nil
	}
	_, man, err := e.root(ctx, id)
	return man, err
}

// toEntry returns an entry with the attributes that its directory keeps for it.
func toEntry(name string, x *snapshot.DirEntry, rec *record) repository.Entry {
	out := repository.Entry{
		Name: name, Mode: os.FileMode(x.Permissions), Size: x.FileSize, UID: x.UserID, GID: x.GroupID,
		ModTime: x.ModTime.ToTime(), Content: x.ObjectID.String(),
	}
	switch x.Type {
	case snapshot.EntryTypeDirectory:
		out.Mode |= os.ModeDir
		out.Size = 0
	case snapshot.EntryTypeSymlink:
		out.Mode |= os.ModeSymlink
	}
	if rec != nil && rec.time != nil {
		out.ModTime = time.Unix(rec.time.sec, rec.time.nsec)
	}
	return out
}

// The types of special files in the mode of a record, as in Linux.
const (
	typeMask  = 0o170000
	typeFIFO  = 0o010000
	typeChar  = 0o020000
	typeBlock = 0o060000
)

func specialType(mode uint32) os.FileMode {
	switch mode & typeMask {
	case typeFIFO:
		return os.ModeNamedPipe
	case typeChar:
		return os.ModeDevice | os.ModeCharDevice
	case typeBlock:
		return os.ModeDevice
	default:
		return os.ModeIrregular
	}
}

// ReadFile writes the content of a file of a snapshot to w.
func (e *repoEngine) ReadFile(ctx context.Context, id, p string, w io.Writer) error {
	ctx, stop := e.ctx(ctx)
	defer stop()
	defer e.packs.begin()()
	man, err := e.manifest(ctx, id)
	if err != nil {
		return classify("read", cause(ctx, err))
	}
	de, err := e.find(ctx, man.RootEntry, p)
	if err != nil {
		return classify("read", cause(ctx, err))
	}
	if de.Type != snapshot.EntryTypeFile {
		return &repository.Error{Op: "read", Err: fmt.Errorf("%q is not a file", p)}
	}
	if de.FileSize == 0 {
		return nil
	}
	rd, err := e.rep.OpenObject(ctx, de.ObjectID)
	if err != nil {
		return classify("read", cause(ctx, err))
	}
	defer func() { _ = rd.Close() }()
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, rd, make([]byte, 1<<20))
	if err == nil && n != de.FileSize {
		err = errors.New("malformed snapshot: a file has another size than its directory says")
	}
	return classify("read", cause(ctx, err))
}
