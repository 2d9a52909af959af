package modeltest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is what a volume held at one moment, by path. "." is its root.
type tree map[string]entry

// entry is everything about a path that a restore must bring back.
type entry struct {
	mode         fs.FileMode
	uid, gid     uint32
	mtime, size  int64
	content      string // of a file, or the target of a symbolic link
	xattrs       string
	links, inode uint64 // an inode counts only beside others of its tree
}

// treeOf reads a volume.
func treeOf(dir string) (tree, error) {
	out := tree{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		out[rel], err = entryOf(name, d)
		return err
	})
	return out, err
}

func entryOf(name string, d fs.DirEntry) (entry, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return entry{}, err
	}
	e := entry{
		mode: fs.FileMode(st.Mode&0o7777) | d.Type(), uid: st.Uid, gid: st.Gid, mtime: st.Mtim.Nano(),
		xattrs: xattrsOf(name),
	}
	if !d.IsDir() {
		e.links, e.inode = st.Nlink, st.Ino
	}
	switch d.Type() {
	case 0:
		b, err := os.ReadFile(name)
		if err != nil {
			return entry{}, err
		}
		sum := sha256.Sum256(b)
		e.size, e.content = int64(len(b)), hex.EncodeToString(sum[:8])
	case fs.ModeSymlink:
		target, err := os.Readlink(name)
		if err != nil {
			return entry{}, err
		}
		e.content = target
	}
	return e, nil
}

// xattrsOf returns the user's attributes of a file.
func xattrsOf(name string) string {
	var list [4096]byte
	n, err := unix.Llistxattr(name, list[:])
	if err != nil || n == 0 {
		return ""
	}
	var out []string
	for key := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		var value [4096]byte
		if n, err := unix.Lgetxattr(name, key, value[:]); err == nil && strings.HasPrefix(key, "user.") {
			out = append(out, key+"="+string(value[:n]))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// groups returns the other names of each file that has several, joined.
func (t tree) groups() map[string]string {
	byInode := map[uint64][]string{}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if e := t[name]; e.links > 1 {
			byInode[e.inode] = append(byInode[e.inode], name)
		}
	}
	out := map[string]string{}
	for _, names := range byInode {
		for _, name := range names {
			out[name] = strings.Join(names, " = ")
		}
	}
	return out
}

// alone returns an entry without what only other entries give a meaning.
func (e entry) alone() entry {
	e.links, e.inode = 0, 0
	return e
}

func (e entry) String() string {
	return fmt.Sprintf("{%v %d:%d mtime %d size %d content %q xattrs %q links %d}", e.mode, e.uid, e.gid, e.mtime,
		e.size, e.content, e.xattrs, e.links)
}

// differs returns how a restored tree differs from the states of a volume during its backup, "" if it does not. One
// state means that nobody wrote meanwhile. Of several, each path must be as in one of them.
func differs(restored tree, states []tree) string {
	if len(states) == 1 {
		return differsFrom(restored, states[0])
	}
	files, whose := identities(states)
	for _, name := range slices.Sorted(maps.Keys(restored)) {
		got, was, seen := restored[name].alone(), map[entry]bool{}, map[int]bool{}
		for i, s := range states {
			e, ok := s[name]
			if !ok {
				continue
			}
			was[e.alone()] = true
			if file := whose[i][e.inode]; e.links > 1 && !seen[file] {
				seen[file] = true // a backup finds it under several names, one after the other
				maps.Copy(was, files[file])
			}
		}
		if !was[got] {
			return fmt.Sprintf("%q is %v, but during the backup it was %v", name, got, inOrder(was))
		}
	}
	for name, e := range states[0] {
		if _, ok := restored[name]; !ok && !slices.ContainsFunc(states, func(s tree) bool {
			_, ok := s[name]
			return !ok
		}) {
			return fmt.Sprintf("%q is missing, which was always %v", name, e)
		}
	}
	return ""
}

func inOrder(of map[entry]bool) []entry {
	return slices.SortedFunc(maps.Keys(of), func(a, b entry) int { return cmp.Compare(a.String(), b.String()) })
}

// identities tells files apart that had the same inode one after the other. It returns what each file was, and for each
// state which file had an inode.
func identities(states []tree) (files map[int]map[entry]bool, whose []map[uint64]int) {
	files = map[int]map[entry]bool{}
	last := map[uint64]int{}
	for _, s := range states {
		now := map[uint64]int{}
		for _, e := range s {
			if e.inode == 0 {
				continue
			}
			if _, seen := now[e.inode]; !seen {
				file, same := last[e.inode]
				if !same {
					file = len(files)
					files[file] = map[entry]bool{}
				}
				now[e.inode] = file
			}
			files[now[e.inode]][e.alone()] = true
		}
		whose, last = append(whose, now), now
	}
	return files, whose
}

func differsFrom(restored, want tree) string {
	got, wanted := restored.groups(), want.groups()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		r, ok := restored[name]
		switch w := want[name]; {
		case !ok:
			return fmt.Sprintf("%q is missing, which was %v", name, w)
		case r.alone() != w.alone():
			return fmt.Sprintf("%q is %v, but was %v", name, r, w)
		case got[name] != wanted[name]:
			return fmt.Sprintf("%q has the names %q, but had %q", name, got[name], wanted[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(restored)) {
		if _, ok := want[name]; !ok {
			return fmt.Sprintf("%q was never there: %v", name, restored[name])
		}
	}
	return ""
}

// held is what the volume of a component held during each attempt to back it up.
type held []attempt

type attempt struct {
	step   int
	states []tree
}

// differs returns how a restored tree differs from all attempts.
func (h held) differs(restored tree) string {
	last := "nothing was backed up"
	for _, a := range slices.Backward(h) {
		d := differs(restored, a.states)
		if d == "" {
			return ""
		}
		last = cmp.Or(d, last)
	}
	return last
}
