package repository

import (
	"context"
	"path"
	"slices"
	"strings"
)

// Change says how an entry differs between two snapshots.
type Change string

// The values of Change.
const (
	ChangeAdded   Change = "added"
	ChangeRemoved Change = "removed"
	// ChangeContent means that content, type or the target of a symbolic link differs.
	ChangeContent Change = "changed"
	// ChangeAttributes means that the content is equal, but mode, owner or time differs.
	ChangeAttributes Change = "attributes"
)

// Difference is an entry that differs between two snapshots.
type Difference struct {
	Path   string
	Change Change
	// Before and After are nil if the entry does not exist there.
	Before, After *Entry
}

// Diff calls each for every entry that differs between two snapshots of one repository. It goes by path, a directory
// before its content. It includes the content of a directory that exists in only one of them. It does not read
// directories that are equal.
func Diff(ctx context.Context, e Engine, before, after string, each func(Difference) error) error {
	return diffDir(ctx, e, before, after, "", true, true, each)
}

func diffDir(ctx context.Context, e Engine, before, after, dir string, inBefore, inAfter bool,
	each func(Difference) error,
) error {
	a, err := entries(ctx, e, before, dir, inBefore)
	if err != nil {
		return err
	}
	b, err := entries(ctx, e, after, dir, inAfter)
	if err != nil {
		return err
	}
	for len(a) > 0 || len(b) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		var x, y *Entry
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			x, a = &a[0], a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			y, b = &b[0], b[1:]
		default:
			x, y, a, b = &a[0], &b[0], a[1:], b[1:]
		}
		if err := diffEntry(ctx, e, before, after, dir, x, y, each); err != nil {
			return err
		}
	}
	return nil
}

func diffEntry(ctx context.Context, e Engine, before, after, dir string, x, y *Entry,
	each func(Difference) error,
) error {
	d := Difference{Before: x, After: y}
	switch {
	case x == nil:
		d.Path, d.Change = path.Join(dir, y.Name), ChangeAdded
	case y == nil:
		d.Path, d.Change = path.Join(dir, x.Name), ChangeRemoved
	default:
		d.Path, d.Change = path.Join(dir, x.Name), changeOf(x, y)
	}
	if d.Change != "" {
		if err := each(d); err != nil {
			return err
		}
	}
	isDir := func(e *Entry) bool { return e != nil && e.Mode.IsDir() }
	if !isDir(x) && !isDir(y) || isDir(x) && isDir(y) && x.Content == y.Content {
		return nil
	}
	return diffDir(ctx, e, before, after, d.Path, isDir(x), isDir(y), each)
}

// changeOf returns "" for equal entries. A directory is not changed because its content changed.
func changeOf(x, y *Entry) Change {
	switch {
	case x.Mode.Type() != y.Mode.Type(), !x.Mode.IsDir() && (x.Content != y.Content || x.Size != y.Size):
		return ChangeContent
	case x.Mode != y.Mode, x.UID != y.UID, x.GID != y.GID, !x.ModTime.Equal(y.ModTime) && !x.Mode.IsDir():
		return ChangeAttributes
	default:
		return ""
	}
}

func entries(ctx context.Context, e Engine, id, dir string, there bool) ([]Entry, error) {
	if !there {
		return nil, nil
	}
	out, err := e.ReadDir(ctx, id, dir)
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}
