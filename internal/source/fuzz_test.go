package source

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
	. "github.com/onsi/gomega"
)

// FuzzCheckout writes a revision that a stranger has made: a line for each entry, "<kind> <path> <content>". Nothing
// outside the directory is written, or reached through a link, and the limits hold.
func FuzzCheckout(f *testing.F) {
	for _, revision := range []string{
		"f a 1\nf b/c 2\nl b/d ../a", "l a ..\nf a/b 1", "l up b/..\nd b\nl x up/../../victim",
		"l a /etc\nf a/passwd x",
		"f .git/config x\nf .GIT x", "l d/e/up ../..\nl b d/e/up/../victim", "f a\\b x\nf .. x\nm m x", "l a a\nf A 1",
	} {
		f.Add(revision)
	}
	f.Fuzz(func(t *testing.T, revision string) {
		if len(revision) > 4096 {
			t.Skip("longer ones find the same")
		}
		g, dir := NewWithT(t), t.TempDir()
		victim, out := filepath.Join(dir, "victim"), filepath.Join(dir, "out")
		g.Expect(os.WriteFile(victim, []byte("precious"), 0o600)).To(Succeed())
		g.Expect(os.Mkdir(out, 0o755)).To(Succeed())
		store := memory.NewStorage()
		tree := treeOf(t, store, strings.Split(revision, "\n"), 0)
		limits := Limits{Files: 20, Bytes: 200, FileBytes: 50}
		err := checkout(t.Context(), store, tree, out, limits)
		g.Expect(os.ReadFile(victim)).To(BeEquivalentTo("precious"))
		beside, readErr := os.ReadDir(dir)
		g.Expect(readErr).NotTo(HaveOccurred())
		g.Expect(beside).To(HaveLen(2))
		if err == nil {
			checkConfined(t, out, limits)
		}
	})
}

// checkConfined reports links that lead out of a directory, and more files than the limits allow.
func checkConfined(t *testing.T, out string, limits Limits) {
	t.Helper()
	g := NewWithT(t)
	root, err := os.OpenRoot(out)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = root.Close() }()
	files, size := 0, int64(0)
	// Names need not be UTF-8, as those of io/fs are.
	g.Expect(filepath.WalkDir(out, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == out {
			return err
		}
		if p, err = filepath.Rel(out, p); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if filepath.Base(p) == ".git" && info.Size() > 0 {
			t.Errorf("%s has a content", p)
		}
		if filepath.Base(p) != ".git" { // the mark of a submodule
			files++
		}
		if d.Type().IsRegular() {
			size += info.Size()
		}
		if d.Type() == fs.ModeSymlink {
			// A root says that a link leads out of it. A link to nothing is another error.
			if _, err := root.Stat(p); err != nil && strings.Contains(err.Error(), "escapes") {
				t.Errorf("%s: %v", p, err)
			}
		}
		return nil
	})).To(Succeed())
	if files > limits.Files || size > limits.Bytes {
		t.Errorf("%d files with %d bytes", files, size)
	}
}

// modes are those of the kinds of entries. All others are files.
var modes = map[string]filemode.FileMode{"l": filemode.Symlink, "x": filemode.Executable, "m": filemode.Submodule}

// treeOf stores the tree of lines. Lines with one directory are together in a tree below it.
func treeOf(t *testing.T, store *memory.Storage, lines []string, depth int) *object.Tree {
	t.Helper()
	tree, below, order := &object.Tree{}, map[string][]string{}, []string{}
	for _, line := range lines {
		part := strings.SplitN(line, " ", 3)
		if len(part) < 3 {
			continue
		}
		dir, rest, isDir := strings.Cut(part[1], "/")
		if isDir && depth < 5 {
			if below[dir] == nil {
				order = append(order, dir)
			}
			below[dir] = append(below[dir], part[0]+" "+rest+" "+part[2])
			continue
		}
		mode, known := modes[part[0]]
		if !known {
			mode = filemode.Regular
		}
		blob := &plumbing.MemoryObject{}
		blob.SetType(plumbing.BlobObject)
		_, _ = blob.Write([]byte(part[2]))
		h, err := store.SetEncodedObject(blob)
		if err != nil {
			t.Fatal(err)
		}
		tree.Entries = append(tree.Entries, object.TreeEntry{Name: part[1], Mode: mode, Hash: h})
	}
	for _, dir := range order {
		sub := treeOf(t, store, below[dir], depth+1)
		tree.Entries = append(tree.Entries, object.TreeEntry{Name: dir, Mode: filemode.Dir, Hash: sub.Hash})
	}
	return stored(t, store, tree)
}

// stored stores a tree as its bytes, which need not be in Git's order, and reads it again.
func stored(t *testing.T, store *memory.Storage, tree *object.Tree) *object.Tree {
	t.Helper()
	obj := &plumbing.MemoryObject{}
	obj.SetType(plumbing.TreeObject)
	for _, e := range tree.Entries {
		name := strings.ReplaceAll(e.Name, "\x00", "0")
		_, _ = obj.Write([]byte(strings.TrimLeft(e.Mode.String(), "0") + " " + name + "\x00"))
		_, _ = obj.Write(e.Hash[:])
	}
	h, err := store.SetEncodedObject(obj)
	if err != nil {
		t.Fatal(err)
	}
	read, err := object.GetTree(store, h)
	if err != nil {
		t.Skipf("go-git reads no such tree: %v", err)
	}
	return read
}
