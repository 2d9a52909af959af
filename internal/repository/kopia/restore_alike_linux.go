package kopia

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"
	"golang.org/x/text/unicode/norm"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

// A file system can take two names for one. SMB, Azure Files and NTFS ignore case, and some file systems the form in
// which a letter is written. A snapshot of another file system can have both names in a directory. A restore that
// replaces what exists would write the second over the first, or both directories into one, and would not notice. So
// it asks the file system of the target first. It asks only about names that are alike, which are rare.

// folded returns the same for names that a file system could take for one: it ignores case, the form of letters, and
// dots and spaces at the end, which Windows drops.
func folded(name string) string {
	name = strings.TrimRight(name, ". ")
	if isASCII(name) {
		return strings.ToLower(name)
	}
	return strings.Map(func(c rune) rune {
		least := c
		for x := unicode.SimpleFold(c); x != c; x = unicode.SimpleFold(x) {
			least = min(least, x)
		}
		return unicode.ToLower(least)
	}, norm.NFKD.String(name))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

var foldedSeed = maphash.MakeSeed()

func foldedHash(name string) uint64 { return maphash.String(foldedSeed, folded(name)) }

// eachName calls do with the name of each entry that the snapshot has in a directory.
func eachName(dm *snapshot.DirManifest, recs map[string]*record, do func(name string, dir bool)) {
	for _, x := range dm.Entries {
		if name, err := decodeName(x.Name); err == nil && x.Name != attrName {
			do(name, x.Type == snapshot.EntryTypeDirectory)
		}
	}
	for name, rec := range recs {
		if rec.special != nil {
			do(name, false)
		}
	}
}

// alike returns the names of a directory that are restored and alike, in sets. A directory can have millions of names,
// so it compares numbers first.
func (r *restorer) alike(rel string, dm *snapshot.DirManifest, recs map[string]*record) [][]string {
	hashes := make([]uint64, 0, len(dm.Entries))
	eachName(dm, recs, func(name string, _ bool) { hashes = append(hashes, foldedHash(name)) })
	slices.Sort(hashes)
	twice := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			twice[hashes[i]] = true
		}
	}
	if len(twice) == 0 {
		return nil
	}
	sets := map[string][]string{}
	eachName(dm, recs, func(name string, dir bool) {
		if !twice[foldedHash(name)] {
			return
		}
		if selected, enter := r.sel.Takes(path.Join(rel, name), dir); selected || enter {
			sets[folded(name)] = append(sets[folded(name)], name)
		}
	})
	var out [][]string
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		if names := slices.Compact(slices.Sorted(slices.Values(sets[key]))); len(names) > 1 {
			out = append(out, names)
		}
	}
	return out
}

// distinct returns an error if the file system takes names for one that are restored into an open directory.
func (r *restorer) distinct(fd int, rel string, dm *snapshot.DirManifest, recs map[string]*record) error {
	same, err := r.sameNames(fd, r.alike(rel, dm, recs))
	if err != nil || len(same) == 0 {
		return err
	}
	var list []string
	for _, names := range same {
		list = append(list, fmt.Sprintf("%q and %q", names[0], names[1]))
	}
	if r.e.log != nil && r.sameIn.Add(1) <= maxProblems {
		r.e.log("warn", "restore", fmt.Sprintf("in directory %q, the file system takes names for one, and nothing was "+
			"restored there: %s", cmp.Or(rel, "."), text.FirstFew(list)))
	}
	return &repository.Error{Op: "restore", Kind: repository.ErrSameName, Err: errors.New(list[0])}
}

// sameNames returns the sets of which the file system of an open directory takes some names for one. It tries them in a
// directory of its own, which has room for long names.
func (r *restorer) sameNames(fd int, sets [][]string) (same [][]string, _ error) {
	if len(sets) == 0 {
		return nil, nil
	}
	dir := r.newName()
	defer r.inUse.Delete(dir)
	r.step()
	if err := r.did(unix.Mkdirat(fd, dir, 0o700)); err != nil {
		if unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, 0) != nil {
			return nil, nil // nothing can be written or deleted here
		}
		return nil, err
	}
	d, err := openDir(fd, dir)
	if err == nil {
		same, err = r.try(d, sets)
		_ = unix.Close(d)
	}
	r.dropUnfinished(fd, dir)
	return same, err
}

// try is sameNames in an empty directory.
func (r *restorer) try(fd int, sets [][]string) (same [][]string, err error) {
	var known, ignoresCase bool
	for _, names := range sets {
		one, onlyCase := ignoresCase, differOnlyInCase(names)
		if !known || !onlyCase {
			if one, err = r.areOne(fd, names); err != nil {
				return nil, err
			}
		}
		if onlyCase {
			known, ignoresCase = true, one
		}
		if one {
			same = append(same, names)
		}
	}
	return same, nil
}

// differOnlyInCase reports whether names differ only in the case of letters that each file system knows: it ignores
// that in all names, or in none.
func differOnlyInCase(names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !isASCII(n) || len(n) != len(names[0]) })
}

// areOne reports whether the file system of an open directory takes some of the names for one. The directory is empty.
func (r *restorer) areOne(dir int, names []string) (bool, error) {
	for i, name := range names {
		r.step()
		fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err == nil {
			err = unix.Close(fd)
		}
		if err != nil {
			dropEmpty(dir, names[:i])
			if err == unix.EEXIST {
				return true, nil
			}
			return false, err
		}
	}
	dropEmpty(dir, names)
	return false, nil
}

// dropEmpty removes empty files from an open directory.
func dropEmpty(dir int, names []string) {
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
			_ = unix.Unlinkat(dir, name, 0)
		}
	}
}

// reallyExtra returns the names of an open directory that are not among those of the snapshot, not even for its file
// system: an entry that exists keeps the name that it has, also if it was restored under one that is alike.
func (r *restorer) reallyExtra(fd int, rel string, known map[string]bool, extra []string) []string {
	others := make(map[string][]string, len(extra))
	for _, name := range extra {
		others[folded(name)] = append(others[folded(name)], name)
	}
	var pairs [][]string
	if len(others) > 0 {
		for name := range known {
			for _, other := range others[folded(name)] {
				pairs = append(pairs, []string{other, name})
			}
		}
	}
	same, err := r.sameNames(fd, pairs)
	if err != nil {
		r.fail(rel, err)
		return nil
	}
	restored := make(map[string]bool, len(same))
	for _, pair := range same {
		restored[pair[0]] = true
	}
	return slices.DeleteFunc(extra, func(name string) bool { return restored[name] })
}
