package modeltest

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// volume is a directory that somebody works in.
type volume struct {
	dir, spare string
	rng        *rand.Rand
	// written makes the content of each write unlike that of all others.
	written *int
	// inodes says that the file system gives the number of a deleted file to the next one.
	inodes bool
	// touched is called after each change that a reader can see.
	touched func()
}

const most, least = 24, 8

// names are the names of new entries. Some have given trouble to backup programs.
var names = []string{
	"a", "b", "c", "d", "e", "f", "g.txt", "h.gz", ".hidden", "\xff\xfe", "caf\xe9", "new\nline", " lead", "-dash",
	".kopiaignore", ".cairn~a", ".cairn~nx", "%41", "x.kopia-entry", "CACHEDIR.TAG", "\u00e9",
	strings.Repeat("n", 255),
}

// change is a change of a volume. It returns what it did, "" if it did nothing.
type change func(*volume) string

// change makes a random change. Some leave size and time of a file as they were, others free the number of a file.
func (v *volume) change() string {
	files, _ := v.list()
	changes := []change{
		(*volume).create, (*volume).create, (*volume).extend, (*volume).rename, (*volume).link, (*volume).link,
		(*volume).symlink, (*volume).directory, (*volume).attributes, (*volume).special, (*volume).rewrite,
		(*volume).remove, (*volume).renumber, (*volume).overwrite, (*volume).replace,
	}
	switch {
	case len(files) > most:
		changes = []change{(*volume).remove}
	case len(files) < least:
		changes = []change{(*volume).create, (*volume).link, (*volume).directory}
	}
	return changes[v.rng.IntN(len(changes))](v)
}

// list returns the paths of everything but directories, and those of directories.
func (v *volume) list() (files, dirs []string) {
	_ = filepath.WalkDir(v.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, name)
		} else {
			files = append(files, name)
		}
		return nil
	})
	return files, dirs
}

// regular returns a file that is no link and no FIFO.
func (v *volume) regular() string {
	files, _ := v.list()
	files = slices.DeleteFunc(files, func(name string) bool {
		info, err := os.Lstat(name)
		return err != nil || !info.Mode().IsRegular()
	})
	return v.pick(files)
}

func (v *volume) pick(of []string) string {
	if len(of) == 0 {
		return ""
	}
	return of[v.rng.IntN(len(of))]
}

// free returns a path that nothing has, "" if it finds none.
func (v *volume) free() string {
	_, dirs := v.list()
	for range 5 {
		name := filepath.Join(v.pick(dirs), names[v.rng.IntN(len(names))])
		if _, err := os.Lstat(name); err != nil {
			return name
		}
	}
	return ""
}

// must stops the model: the volume is broken, not Cairn.
func must(err error) {
	if err != nil {
		panic(fmt.Errorf("the model itself: %w", err))
	}
}

func (v *volume) told(format string, args ...any) string {
	v.touched()
	return fmt.Sprintf(format, args...)
}

func (v *volume) content(size int) []byte {
	*v.written++
	text := fmt.Appendf(nil, "write %08d ", *v.written)
	return bytes.Repeat(text, size/len(text)+1)[:size]
}

// put makes a complete file under a name at once.
func (v *volume) put(name string, content []byte) {
	must(os.WriteFile(v.spare, content, 0o644))
	must(os.Rename(v.spare, name))
}

func (v *volume) create() string {
	name := v.free()
	if name == "" {
		return ""
	}
	size := []int{0, 20, 300, 5000, 70_000}[v.rng.IntN(5)]
	v.put(name, v.content(size))
	if v.rng.IntN(8) == 0 { // a hole at the end
		must(os.Truncate(name, int64(size)+1<<20))
	}
	return v.told("create %q", name)
}

func (v *volume) rewrite() string {
	name := v.regular()
	if name == "" {
		return ""
	}
	v.put(name, v.content(20+v.rng.IntN(400)))
	return v.told("write %q anew", name)
}

func (v *volume) extend() string {
	name := v.regular()
	if name == "" {
		return ""
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	_, err = f.Write(v.content(30))
	must(err)
	must(f.Close())
	return v.told("append to %q", name)
}

// small returns a regular file whose content can be written again with the same size, or "".
func (v *volume) small() (name string, info os.FileInfo) {
	if name = v.regular(); name == "" {
		return "", nil
	}
	info, err := os.Stat(name)
	must(err)
	if info.Size() < 20 || info.Size() > 1<<20 {
		return "", nil
	}
	return name, info
}

// overwrite writes into a file and sets its time back, as a database or "touch -r" does.
func (v *volume) overwrite() string {
	name, info := v.small()
	if name == "" {
		return ""
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteAt(v.content(int(info.Size())), 0)
	must(err)
	v.touched()
	must(f.Close())
	must(os.Chtimes(name, info.ModTime(), info.ModTime()))
	return v.told("write into %q and set its time back", name)
}

// replace renames another file of the same size and time over a file, as "cp -p" and "mv" do.
func (v *volume) replace() string {
	name, info := v.small()
	if name == "" {
		return ""
	}
	must(os.WriteFile(v.spare, v.content(int(info.Size())), 0o644))
	must(os.Chmod(v.spare, info.Mode()))
	must(os.Chtimes(v.spare, info.ModTime(), info.ModTime()))
	must(os.Rename(v.spare, name))
	return v.told("replace %q by a file of its size and time", name)
}

func (v *volume) remove() string {
	files, _ := v.list()
	name := v.pick(files)
	if name == "" {
		return ""
	}
	must(os.Remove(name))
	return v.told("remove %q", name)
}

func (v *volume) rename() string {
	files, dirs := v.list()
	from, to := v.pick(append(files, dirs[1:]...)), v.free()
	if from == "" || to == "" || strings.HasPrefix(to, from+"/") {
		return ""
	}
	must(os.Rename(from, to))
	return v.told("rename %q to %q", from, to)
}

func (v *volume) link() string {
	from, to := v.regular(), v.free()
	if from == "" || to == "" {
		return ""
	}
	must(os.Link(from, to))
	return v.told("link %q to %q", to, from)
}

func (v *volume) symlink() string {
	files, _ := v.list()
	target, name := v.pick(append(files, "/etc/passwd", "nowhere/\xff")), v.free()
	if name == "" {
		return ""
	}
	must(os.Symlink(target, name))
	return v.told("symlink %q", name)
}

func (v *volume) directory() string {
	_, dirs := v.list()
	if len(dirs) > 6 {
		name := dirs[1+v.rng.IntN(len(dirs)-1)]
		if os.Remove(name) != nil { // it is not empty
			return ""
		}
		return v.told("remove directory %q", name)
	}
	name := v.free()
	if name == "" {
		return ""
	}
	must(os.Mkdir(name, 0o755))
	return v.told("make directory %q", name)
}

func (v *volume) attributes() string {
	files, dirs := v.list()
	name := v.pick(append(files, dirs...))
	info, err := os.Lstat(name)
	must(err)
	switch v.rng.IntN(3) {
	case 0:
		at := time.Unix(v.rng.Int64N(2_000_000_000)-100_000_000, v.rng.Int64N(1e9))
		ts := []unix.Timespec{unix.NsecToTimespec(at.UnixNano()), unix.NsecToTimespec(at.UnixNano())}
		must(unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, unix.AT_SYMLINK_NOFOLLOW))
		return v.told("set the time of %q", name)
	case 1:
		if info.Mode()&fs.ModeSymlink != 0 {
			return ""
		}
		must(unix.Chmod(name, []uint32{0o644, 0o600, 0o755, 0o4755, 0o1777, 0o750}[v.rng.IntN(6)]|0o700))
		return v.told("set the mode of %q", name)
	default:
		if !info.Mode().IsRegular() && !info.IsDir() {
			return ""
		}
		if unix.Setxattr(name, "user.note", v.content(15), 0) != nil {
			return "" // not on every file system
		}
		return v.told("set an attribute of %q", name)
	}
}

func (v *volume) special() string {
	name := v.free()
	if name == "" {
		return ""
	}
	must(unix.Mkfifo(name, 0o640))
	return v.told("make FIFO %q", name)
}
