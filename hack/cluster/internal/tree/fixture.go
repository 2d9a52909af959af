package tree

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sparseSize is the size of the fixture's sparse file.
const sparseSize = 64 << 20

// fixtureTime is the modification time of what has no special one.
var fixtureTime = time.Date(2024, 2, 29, 12, 34, 56, 123456789, time.UTC)

// Fixture fills the directory dir, which it creates if need be, with the cases
// that are hard for backups. Two fixtures made by the same user have the same
// manifest. Root gets odd owners too; other users get no file they could not
// read.
func Fixture(dir string) error {
	b := &fixture{dir: dir, root: os.Geteuid() == 0, times: map[string]time.Time{}, modes: map[string]uint32{}}
	for _, part := range []func() error{b.contents, b.fileModes, b.owners, b.moments, b.links, b.names} {
		if err := part(); err != nil {
			return fmt.Errorf("make a fixture in %s: %w", dir, err)
		}
	}
	if err := b.finish(); err != nil {
		return fmt.Errorf("make a fixture in %s: %w", dir, err)
	}
	return nil
}

// fixture is one run of Fixture.
type fixture struct {
	dir   string
	root  bool
	times map[string]time.Time // path -> special time
	modes map[string]uint32    // path -> special mode, with the special bits
}

func (b *fixture) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

func (b *fixture) write(text string, elem ...string) error {
	p := b.path(elem...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p, []byte(text), 0o644)
}

func (b *fixture) contents() error {
	random := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{'c', 'a', 'i', 'r', 'n'}).Read(random) // it cannot fail
	if err := b.write(string(random), "contents", "random"); err != nil {
		return err
	}
	if err := b.write("", "contents", "empty"); err != nil {
		return err
	}
	// Zeros that are written take space: a restore may not turn them to a hole.
	if err := b.write(strings.Repeat("\x00", 4*blockSize), "contents", "zeros"); err != nil {
		return err
	}
	if err := os.MkdirAll(b.path("contents", "empty directory", "in another"), 0o755); err != nil {
		return err
	}
	f, err := os.Create(b.path("contents", "sparse"))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, at := range []int64{0, sparseSize/2 + 1, sparseSize - 5*blockSize} {
		if _, err := f.WriteAt([]byte("data among holes"), at); err != nil {
			return err
		}
	}
	return f.Truncate(sparseSize) // with a hole at its end
}

func (b *fixture) fileModes() error {
	for _, m := range []uint32{
		0o0000, 0o0200, 0o0400, 0o0444, 0o0600, 0o0640, 0o0644, 0o0755, 0o0777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777,
	} {
		if m&0o400 == 0 && !b.root {
			continue
		}
		name := filepath.Join("modes", fmt.Sprintf("file-%04o", m))
		if err := b.write("mode", name); err != nil {
			return err
		}
		b.modes[name] = m
	}
	for _, m := range []uint32{0o0500, 0o0700, 0o0755, 0o1777, 0o2770, 0o3777} {
		name := filepath.Join("modes", fmt.Sprintf("dir-%04o", m))
		if err := os.MkdirAll(b.path(name), 0o755); err != nil {
			return err
		}
		b.modes[name] = m
	}
	return nil
}

func (b *fixture) owners() error {
	if !b.root {
		return nil
	}
	for _, id := range []int{1, 1234, 65532, 65534, 2_000_000_001} {
		name := fmt.Sprint(id)
		if err := b.write("owner", "owners", name); err != nil {
			return err
		}
		if err := os.Symlink(name, b.path("owners", "link-"+name)); err != nil {
			return err
		}
		for _, n := range []string{name, "link-" + name} {
			if err := os.Lchown(b.path("owners", n), id, id+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *fixture) moments() error {
	for name, t := range map[string]time.Time{
		"1902":            time.Date(1902, 1, 2, 3, 4, 5, 6, time.UTC),
		"before 1970":     time.Date(1969, 12, 31, 23, 59, 58, 500000001, time.UTC),
		"1970":            time.Unix(0, 0),
		"one nanosecond":  time.Unix(1_000_000_000, 1),
		"all nanoseconds": time.Unix(1_000_000_000, 999_999_999),
		"2100":            time.Date(2100, 3, 1, 0, 0, 0, 7, time.UTC),
	} {
		file, dir, link := filepath.Join("times", name), filepath.Join("times", "dir "+name),
			filepath.Join("times", "link "+name)
		if err := b.write("time", file); err != nil {
			return err
		}
		if err := os.Mkdir(b.path(dir), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(name, b.path(link)); err != nil {
			return err
		}
		b.times[file], b.times[dir], b.times[link] = t, t, t
	}
	return nil
}

func (b *fixture) links() error {
	if err := b.write("target", "links", "target"); err != nil {
		return err
	}
	for name, target := range map[string]string{
		"relative": "target", "upwards": "../contents/random", "to a directory": "../contents",
		"absolute": "/etc/hostname", "dangling": "there is no such file", "loop": "loop", "odd": "ä b\nc",
	} {
		if err := os.Symlink(target, b.path("links", name)); err != nil {
			return err
		}
	}
	return os.Link(b.path("links", "target"), b.path("links", "hard"))
}

func (b *fixture) names() error {
	for _, name := range []string{
		"Größe mit Leerzeichen.txt", "日本語", "combining e\u0301", "new\nline", "tab\t", `quote'"`, `back\slash`,
		" leading and trailing ", "-dash", "*?[glob]", "$(x) `y`", ".hidden", "..dots", strings.Repeat("n", 255),
	} {
		if err := b.write("name", "names", name); err != nil {
			return err
		}
	}
	deep := []string{"deep"}
	for i := range 40 {
		deep = append(deep, fmt.Sprintf("directory number %d", i))
	}
	return b.write("deep", append(deep, "file")...)
}

// finish sets owners' rights and times, the innermost entries first.
func (b *fixture) finish() error {
	var paths []string
	err := filepath.WalkDir(b.dir, func(p string, _ fs.DirEntry, err error) error {
		paths = append(paths, p)
		return err
	})
	if err != nil {
		return err
	}
	for i := len(paths) - 1; i >= 0; i-- {
		rel, err := filepath.Rel(b.dir, paths[i])
		if err != nil {
			return err
		}
		if m, ok := b.modes[rel]; ok {
			if err := unix.Chmod(paths[i], m); err != nil {
				return &fs.PathError{Op: "chmod", Path: paths[i], Err: err}
			}
		}
		t, ok := b.times[rel]
		if !ok {
			t = fixtureTime
		}
		if err := setTime(paths[i], t); err != nil {
			return err
		}
	}
	return nil
}
