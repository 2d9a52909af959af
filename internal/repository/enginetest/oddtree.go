package enginetest

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// oddNames are names that have given trouble to backup programs, including Cairn.
var oddNames = []string{
	"\xff\xfe", "\xff\xfd", "caf\xe9", "new\nline", " lead", "trail ", "-dash", "back\\slash", "quote\"'",
	"\u202e", "%41",
	".cairn~a", ".cairn~nx", "x.kopia-entry", ".kopiaignore", "CACHEDIR.TAG", "e\u0301", "\u00e9", "tab\t", "\x01",
	strings.Repeat("n", 255), strings.Repeat("\xf0", 255),
}

// oddTree is a tree that is being made.
type oddTree struct {
	t    testing.TB
	dir  string
	root bool
}

// OddTree makes a tree of everything unusual that the user is able to make. Root is able to make more. It needs the
// programs of Comparers.
func OddTree(t testing.TB) string {
	o := oddTree{t, t.TempDir(), os.Geteuid() == 0}
	o.modes()
	o.links()
	o.manyLinks()
	o.attributes()
	o.specials()
	o.names()
	o.holes()
	o.deep()
	o.times()
	return o.dir
}

func (o oddTree) do(err error) {
	o.t.Helper()
	NewWithT(o.t).Expect(err).NotTo(HaveOccurred())
}

func (o oddTree) path(name string) string { return filepath.Join(o.dir, name) }

func (o oddTree) file(name, data string) string {
	o.t.Helper()
	o.do(os.WriteFile(o.path(name), []byte(data), 0o644))
	return o.path(name)
}

func (o oddTree) modes() {
	for i, mode := range []uint32{0o4755, 0o2755, 0o6711, 0o1644, 0o7777, 0o000, 0o200} {
		p := o.file(fmt.Sprint("mode", i), "x")
		if o.root {
			o.do(unix.Chown(p, 1000+i, 2000+i))
		} else {
			mode |= 0o400 // an unprivileged backup can't read a file that its owner can't read
		}
		o.do(unix.Chmod(p, mode))
	}
	o.do(os.Mkdir(o.path("sgid"), 0o755))
	o.do(unix.Chmod(o.path("sgid"), 0o3775))
	o.do(os.Mkdir(o.path("empty"), 0o500))
}

// links makes hard links in one directory, across directories, to a symbolic link, and to an empty file.
func (o oddTree) links() {
	a := o.file("link-a", strings.Repeat("linked", 1000))
	o.do(os.Link(a, o.path("link-b")))
	o.do(os.Link(a, o.path("sgid/link-c")))
	o.do(os.Symlink("nowhere/\xff", o.path("sym-a")))
	o.do(unix.Linkat(unix.AT_FDCWD, o.path("sym-a"), unix.AT_FDCWD, o.path("sym-b"), 0))
	o.do(os.Link(o.file("empty-a", ""), o.path("empty-b")))
}

// manyLinks makes a hundred files with a hundred names each, one name in every directory.
func (o oddTree) manyLinks() {
	for d := range 100 {
		o.do(os.MkdirAll(o.path(fmt.Sprint("links/", d)), 0o755))
		for i := range 100 {
			name := fmt.Sprintf("links/%d/%d", d, i)
			if d == 0 {
				o.file(name, name)
			} else {
				o.do(os.Link(o.path(fmt.Sprintf("links/0/%d", i)), o.path(name)))
			}
		}
	}
}

func (o oddTree) attributes() {
	t, x := o.t, o.file("xattr", "x")
	Program(t, "setfattr", "-n", "user.note", "-v", "value", x)
	Program(t, "setfattr", "-n", "user.binary", "-v", "0x00ff0a", x)
	if o.root {
		Program(t, "setfattr", "-n", "trusted.t", "-v", "t", x)
		Program(t, "setfattr", "-h", "-n", "trusted.onlink", "-v", "t", o.path("sym-a"))
		Program(t, "setcap", "cap_net_bind_service=+ep", o.file("cap", "x"))
	}
	Program(t, "setfacl", "-m", "u:1234:rw,g:5678:r", o.file("acl", "x"))
	o.do(os.Mkdir(o.path("acldir"), 0o750))
	o.file("acldir/before", "x")
	Program(t, "setfacl", "-d", "-m", "u:1234:rwx", o.path("acldir"))
	Program(t, "setfacl", "-m", "u:1234:rx", o.path("acldir"))
	o.file("acldir/after", "inherits")
	Program(t, "setfacl", "-m", "u:77:r", o.dir)
}

func (o oddTree) specials() {
	o.do(unix.Mkfifo(o.path("fifo"), 0o620))
	Program(o.t, "setfacl", "-m", "u:1234:rw", o.path("fifo"))
	if !o.root {
		return
	}
	o.do(unix.Chown(o.path("fifo"), 5, 6))
	o.do(unix.Mknod(o.path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	o.do(unix.Mknod(o.path("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))))
}

func (o oddTree) names() {
	for i, n := range oddNames {
		o.file(n, fmt.Sprint("name", i))
	}
	o.file(".kopiaignore", "*\n")
	o.file("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55")
	o.do(os.Mkdir(o.path("dir\xff"), 0o755))
	o.file("dir\xff/in\xfe", "x")
}

func (o oddTree) holes() {
	h := o.file("holes", "")
	o.do(os.Truncate(h, 64<<20))
	w, err := os.OpenFile(h, os.O_WRONLY, 0)
	o.do(err)
	_, err = w.WriteAt([]byte("island"), 33<<20+123)
	o.do(err)
	_, err = w.WriteAt(make([]byte, 100), 40<<20)
	o.do(err)
	o.do(w.Close())
	o.do(os.Truncate(o.file("allhole", ""), 10<<20+1))
	b := make([]byte, 9<<20+77)
	rand.New(rand.NewSource(3)).Read(b)
	clear(b[4<<20 : 6<<20])
	o.do(os.WriteFile(o.path("mixed"), b, 0o644))
}

// deep makes a path longer than PATH_MAX.
func (o oddTree) deep() {
	fd, err := unix.Open(o.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	o.do(err)
	for i := range 22 {
		n := fmt.Sprintf("%02d", i) + strings.Repeat("d", 198)
		o.do(unix.Mkdirat(fd, n, 0o755))
		next, err := unix.Openat(fd, n, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		o.do(err)
		o.do(unix.Close(fd))
		fd = next
		leaf, err := unix.Openat(fd, "leaf", unix.O_CREAT|unix.O_WRONLY, 0o644)
		o.do(err)
		_, err = unix.Write(leaf, []byte("leaf"))
		o.do(err)
		o.do(unix.Close(leaf))
	}
	o.do(unix.Fsetxattr(fd, "user.deep", []byte("deep"), 0))
	o.do(unix.Close(fd))
}

// times sets times, children before parents.
func (o oddTree) times() {
	set := func(name string, sec, nsec int64) {
		ts := []unix.Timespec{{Sec: sec, Nsec: nsec}, {Sec: sec, Nsec: nsec}}
		o.do(unix.UtimesNanoAt(unix.AT_FDCWD, o.path(name), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
	set(" lead", 1234567890, 123456789)
	set("-dash", -86400*365*20, 999999999)
	set("sym-a", 1000000000, 987654321)
	set("quote\"'", 15000000000, 5) // the year 2445
	set("fifo", 1111111111, 111111111)
	set("empty", 999, 1)
	set("acldir", 1222222222, 222222222)
	set("sgid", -1, 500)
	o.do(os.Chtimes(o.dir, time.Unix(5, 0), time.Unix(1333333333, 333333333)))
}
