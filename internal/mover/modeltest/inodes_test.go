package modeltest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// renumber removes all names of a file with several, and makes others with several names. The file system gives the
// number of the old file to the new one.
func (v *volume) renumber() string {
	if v.removeLinked() == 0 {
		return ""
	}
	for range 3 {
		first, second := v.free(), v.free()
		if first == "" || second == "" || first == second {
			continue
		}
		v.put(first, v.content(60))
		v.touched()
		must(os.Link(first, second))
		v.touched()
	}
	return v.told("remove all names of a file and link others")
}

// reuse removes all names of a file with several. A new file gets its number, and replaces two files. A backup that has
// read the old file can meet the new file, although it had listed all directories before.
func (v *volume) reuse() string {
	number := v.removeLinked()
	if number == 0 {
		return ""
	}
	first, second := v.regular(), v.regular()
	if first == second {
		return v.told("remove all names of a file")
	}
	v.spareWith(number, v.content(60))
	must(os.Rename(v.spare, first))
	v.touched()
	must(os.Link(first, v.spare))
	must(os.Rename(v.spare, second))
	return v.told("remove all names of a file, and replace %q and %q by a new file", first, second)
}

// removeLinked removes all names of a file with several, and returns its number. It returns 0 if there is none, or if
// the file system does not use numbers again.
func (v *volume) removeLinked() uint64 {
	files, _ := v.list()
	byInode := map[uint64][]string{}
	var shared []uint64
	for _, name := range files {
		if st := statOf(name); st.Nlink > 1 {
			if byInode[st.Ino] == nil {
				shared = append(shared, st.Ino)
			}
			byInode[st.Ino] = append(byInode[st.Ino], name)
		}
	}
	if len(shared) == 0 || !v.inodes {
		return 0
	}
	old := shared[v.rng.IntN(len(shared))]
	for _, name := range byInode[old] {
		must(os.Remove(name))
		v.touched()
	}
	return old
}

// spareWith makes a spare file with the number of a deleted file. A file system gives the lowest free number. So other
// spare files take up the lower numbers meanwhile.
func (v *volume) spareWith(number uint64, content []byte) {
	const tries = 30
	for n := range tries {
		must(os.WriteFile(v.spare, content, 0o644))
		if n == tries-1 || statOf(v.spare).Ino == number {
			break
		}
		other := fmt.Sprint(v.spare, n)
		must(os.Rename(v.spare, other))
		defer func() { must(os.Remove(other)) }()
	}
}

func statOf(name string) unix.Stat_t {
	var st unix.Stat_t
	must(unix.Lstat(name, &st))
	return st
}

// reusesInodes reports whether the file system of a directory gives the number of a deleted file to the next one.
func reusesInodes(dir string) bool {
	seen := map[uint64]bool{}
	for range 10 {
		name := filepath.Join(dir, "number")
		must(os.WriteFile(name, nil, 0o600))
		n := statOf(name).Ino
		must(os.Remove(name))
		if seen[n] {
			return true
		}
		seen[n] = true
	}
	return false
}
