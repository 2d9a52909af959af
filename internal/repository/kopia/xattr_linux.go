package kopia

import (
	"bytes"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// skipXattr reports whether an attribute belongs to the host, not to the data: the container runtime sets labels.
func skipXattr(n string) bool {
	return n == "security.selinux" || n == "security.ima" || n == "security.evm" ||
		strings.HasPrefix(n, "trusted.overlay.")
}

// xattrList is the memory with which the attributes of a directory's entries are listed, one after the other.
type xattrList struct {
	name []byte // of the entry, with the zero that ends it
	buf  []byte // for the names of its attributes
	some bool   // the previous entry had attributes, so this one probably has too
}

const (
	firstList = 1 << 10
	longest   = 1 << 16 // the kernel's limit for a list
)

// readXattrs reads the attributes of an entry of ref, or of ref itself for raw "".
func (w *walk) readXattrs(ref *dirRef, raw string, l *xattrList) []xattr {
	if w.noXattrs.Load() {
		return nil
	}
	name := raw
	if raw == "" {
		name = "."
	}
	buf, err := l.read(ref, name)
	switch {
	case err == unix.ENOTSUP:
		if raw == "" && ref.parent == nil {
			w.noXattrs.Store(true)
		}
		return nil
	case err == unix.ENOENT || len(buf) == 0 && err == nil:
		return nil
	case err != nil:
		w.attrsLost.Add(1)
		w.problem(path.Join(ref.path(), raw), &os.PathError{Op: "llistxattr", Path: raw, Err: err})
		return nil
	}
	var out []xattr
	p := ref.proc + name
	for name := range bytes.SplitSeq(bytes.TrimSuffix(buf, []byte{0}), []byte{0}) {
		if skipXattr(string(name)) {
			continue
		}
		v, err := lgetxattr(p, string(name))
		if err == unix.ENODATA || err == unix.ENOENT {
			continue
		}
		if err != nil {
			w.attrsLost.Add(1)
			w.problem(path.Join(ref.path(), raw), &os.PathError{Op: "lgetxattr " + string(name), Path: raw, Err: err})
			continue
		}
		out = append(out, xattr{string(name), v})
	}
	return out
}

// noListxattrat is set if the kernel has no system call listxattrat, which came with Linux 6.13. The call costs a third
// of the way through /proc.
var noListxattrat atomic.Bool

// read lists the names of attributes. Most entries have none; the kernel needs no buffer to say so.
func (l *xattrList) read(ref *dirRef, name string) ([]byte, error) {
	if !l.some {
		n, err := l.list(ref, name, nil)
		if n == 0 || err != nil {
			return nil, err
		}
	}
	if l.buf == nil {
		l.buf = make([]byte, firstList)
	}
	n, err := l.list(ref, name, l.buf)
	for err == unix.ERANGE && len(l.buf) < longest {
		l.buf = make([]byte, 2*len(l.buf))
		n, err = l.list(ref, name, l.buf)
	}
	l.some = n > 0
	return l.buf[:max(n, 0)], err
}

// list makes one system call.
func (l *xattrList) list(ref *dirRef, name string, buf []byte) (int, error) {
	if noListxattrat.Load() {
		return unix.Llistxattr(ref.proc+name, buf)
	}
	l.name = append(append(l.name[:0], name...), 0)
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(ref.fd), uintptr(unsafe.Pointer(&l.name[0])),
		unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.ENOSYS, unix.EPERM: // EPERM: a seccomp profile that does not know it
		noListxattrat.Store(true)
		return l.list(ref, name, buf)
	default:
		return 0, errno
	}
}

func lgetxattr(p, name string) (string, error) {
	for buf := make([]byte, 256); ; {
		n, err := unix.Lgetxattr(p, name, buf)
		if err == unix.ERANGE {
			if n, err = unix.Lgetxattr(p, name, nil); err == nil {
				buf = make([]byte, n+64)
				continue
			}
		}
		if err != nil {
			return "", err
		}
		return string(buf[:n]), nil
	}
}
