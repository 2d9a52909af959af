package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// entry is a file, directory or link to write.
type entry struct {
	path string
	mode filemode.FileMode
	hash plumbing.Hash
}

// plan is a tree that was read and checked. Nothing of it is written yet.
type plan struct {
	store   storer.EncodedObjectStorer
	limits  Limits
	entries []entry           // parents before children
	links   map[string]string // path to target
	bytes   int64             // of all files
	counted int               // entries of all directories so far, also of those that are not read yet
	names   int               // bytes of all paths
}

// readTree parses a directory of a bounded size.
func readTree(store storer.EncodedObjectStorer, h plumbing.Hash, dir string) (*object.Tree, error) {
	size, err := store.EncodedObjectSize(h)
	if err == nil && size > maxTree {
		return nil, fail(ErrTooLarge, "directory /%s has %d bytes of names: keep policy in a smaller repository", dir,
			size)
	}
	tree, err := object.GetTree(store, h)
	if err != nil {
		return nil, fmt.Errorf("read directory /%s: %w", dir, err)
	}
	return tree, nil
}

// checkout checks the whole tree. Then it writes directories and files, and links last, so that it never writes a
// file through a link.
func checkout(
	ctx context.Context, store storer.EncodedObjectStorer, tree *object.Tree, dir string,
	limits Limits,
) error {
	p := &plan{store: store, limits: limits, links: map[string]string{}}
	if err := p.read(tree, ""); err != nil {
		return err
	}
	for _, e := range p.entries {
		if e.mode == filemode.Symlink {
			if err := p.checkLink(e.path); err != nil {
				return err
			}
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open checkout directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, links := range []bool{false, true} {
		for _, e := range p.entries {
			if links != (e.mode == filemode.Symlink) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("check out %s: %w", e.path, err)
			}
			if err := p.write(root, e); err != nil {
				return fmt.Errorf("check out %s: %w", e.path, err)
			}
		}
	}
	return nil
}

// read adds the entries of one directory, in Git's order.
func (p *plan) read(tree *object.Tree, dir string) error {
	// Before a directory below is read: a hundred of them, one in the other, would be in memory at the same time.
	if over := p.counted + len(tree.Entries) - p.limits.Files; over > 0 {
		first := tree.Entries[len(tree.Entries)-over]
		return fail(ErrTooLarge,
			"revision has more than %d files and directories, %s is the first beyond the limit: keep "+
				"policy in a smaller repository", p.limits.Files, path.Join(dir, first.Name))
	}
	p.counted += len(tree.Entries)
	seen := map[string]bool{}
	for _, te := range tree.Entries {
		e := entry{path.Join(dir, te.Name), te.Mode, te.Hash}
		if why := badName(te.Name); why != "" || seen[te.Name] || len(dir)+len(te.Name) >= maxPath {
			if why == "" {
				why = "duplicate or too long"
			}
			return fail(ErrPath, "file name %q in directory %q is %s: rename it in the repository", te.Name,
				"/"+dir, why)
		}
		seen[te.Name] = true
		p.entries = append(p.entries, e)
		if p.names += len(e.path); p.names > maxNames {
			return fail(ErrTooLarge, "the paths of the revision have more than %d bytes: shorten them", maxNames)
		}
		if err := p.readEntry(e); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) readEntry(e entry) error {
	if e.mode == filemode.Submodule {
		return nil
	}
	if e.mode == filemode.Dir {
		tree, err := readTree(p.store, e.hash, e.path)
		if err != nil {
			return err
		}
		return p.read(tree, e.path)
	}
	size, err := p.store.EncodedObjectSize(e.hash)
	switch {
	case errors.Is(err, plumbing.ErrObjectNotFound), err == nil && size > p.limits.FileBytes:
		// A missing object is too large: the server was asked to leave out larger ones.
		return fail(
			ErrTooLarge, "file %s is larger than %d bytes: remove it from the repository or keep policy in another one",
			e.path,
			p.limits.FileBytes)
	case err != nil:
		return fmt.Errorf("read size of %s: %w", e.path, err)
	}
	if p.bytes += size; p.bytes > p.limits.Bytes {
		return fail(
			ErrTooLarge,
			"revision is larger than %d bytes, file %s exceeds the limit: keep policy in a smaller repository",
			p.limits.Bytes, e.path)
	}
	if e.mode != filemode.Symlink {
		return nil
	}
	if size > maxTarget {
		return fail(ErrSymlink, "symbolic link %s has a target of %d bytes: remove it from the repository",
			e.path, size)
	}
	target, err := p.content(e.hash)
	if err != nil {
		return fmt.Errorf("read link %s: %w", e.path, err)
	}
	p.links[e.path] = string(target)
	return nil
}

// badName returns why a name is not written, "" if it is. A .git would make the checkout a repository whose
// configuration a stranger wrote.
func badName(name string) string {
	switch {
	case name == "" || name == "." || name == "..":
		return "not a name"
	case strings.EqualFold(name, ".git"):
		return "reserved by Git"
	case strings.ContainsAny(name, "/\\\x00"):
		return "a path, not a name"
	case len(name) > 255:
		return "longer than 255 bytes"
	}
	return ""
}

func (p *plan) content(h plumbing.Hash) ([]byte, error) {
	blob, err := object.GetBlob(p.store, h)
	if err != nil {
		return nil, err
	}
	r, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(io.LimitReader(r, p.limits.FileBytes))
}

// write creates one entry. root refuses everything that would leave the directory.
func (p *plan) write(root *os.Root, e entry) error {
	switch e.mode {
	case filemode.Dir:
		return root.Mkdir(e.path, 0o755)
	case filemode.Submodule:
		// Whoever builds the directory must see that something is missing. No file of a revision is named .git.
		if err := root.Mkdir(e.path, 0o755); err != nil {
			return err
		}
		return root.WriteFile(path.Join(e.path, ".git"), nil, 0o644)
	case filemode.Symlink:
		return root.Symlink(p.links[e.path], e.path)
	}
	mode := os.FileMode(0o644)
	if e.mode == filemode.Executable {
		mode = 0o755
	}
	content, err := p.content(e.hash)
	if err != nil {
		return err
	}
	f, err := root.OpenFile(e.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
