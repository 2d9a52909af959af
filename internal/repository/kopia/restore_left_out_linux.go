package kopia

import (
	"context"
	"path"
	"strings"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// leftOut knows which entries of a target can be missing from a snapshot because its backup left them out.
type leftOut struct {
	unknown bool // the snapshot does not say what its backup left out
	exclude repository.Selection
	paths   map[string]bool // stored names of further entries
	dirs    map[string]bool // stored names of directories in which any can be missing
	below   string          // the path of the snapshot that is restored
}

// newLeftOut reads the rules that a snapshot keeps. p is the path in it that is restored.
func newLeftOut(man *snapshot.Manifest, p string) (leftOut, []repository.Mount) {
	l := leftOut{unknown: true, below: strings.Trim(path.Clean("/"+p), "/")}
	kept := parseDetails(man).Rules
	if kept == nil {
		return l, nil
	}
	exclude, err := repository.NewSelection(nil, kept.Exclude, kept.Mounts...)
	if err != nil { // patterns of a newer version
		return l, kept.Mounts
	}
	l.exclude, l.unknown, l.paths = exclude, kept.More, make(map[string]bool, len(kept.LeftOut))
	for _, name := range kept.LeftOut {
		l.paths[name] = true
	}
	l.dirs = make(map[string]bool, len(kept.Restless))
	for _, name := range kept.Restless {
		l.dirs[name] = true
	}
	return l, kept.Mounts
}

// choosesNothing reports whether the patterns choose no entry of the snapshot.
func (r *restorer) choosesNothing(ctx context.Context, rel string, de *snapshot.DirEntry) (bool, error) {
	dm, err := r.e.readDir(ctx, de.ObjectID)
	if err != nil {
		return false, err
	}
	recs, err := r.e.attrs(ctx, dm)
	if err != nil {
		return false, err
	}
	for name, rec := range recs {
		if selected, _ := r.sel.Takes(path.Join(rel, name), false); selected && rec.special != nil {
			return false, nil
		}
	}
	for _, x := range dm.Entries {
		name, err := decodeName(x.Name)
		if x.Name == attrName || err != nil {
			continue
		}
		p, dir := path.Join(rel, name), x.Type == snapshot.EntryTypeDirectory
		selected, enter := r.sel.Takes(p, dir)
		if selected {
			return false, nil
		}
		if enter && dir {
			if nothing, err := r.choosesNothing(ctx, p, x); err != nil || !nothing {
				return false, err
			}
		}
	}
	return true, nil
}

// keepsExtra reports whether an entry of the target that the snapshot does not have stays: it is no extra entry where
// the backup left it out. It counts entries of which nobody knows. If the snapshot has another entry of its name, which
// replaces it, it was not left out.
func (r *restorer) keepsExtra(rel string, typ uint32, replaced bool) bool {
	full := path.Join(r.left.below, rel)
	stored := encodePath(full)
	switch {
	case typ == unix.S_IFSOCK: // no backup holds one
		return true
	case r.left.exclude.Excludes(full, typ == unix.S_IFDIR):
		return true
	case replaced:
	case r.left.unknown || r.left.paths[stored] || r.left.dirs[path.Dir(stored)]:
		r.extraKept.Add(1)
		return true
	}
	return false
}
