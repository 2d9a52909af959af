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

// skipXattr lists what belongs to the host, not to the data: labels are set by the container runtime.
func skipXattr(n string) bool {
	return n == "security.selinux" || n == "security.ima" || n == "security.evm" || strings.HasPrefix(n, "trusted.overlay.")
}

// readXattrs reads those of an entry of ref, or of ref itself for raw "".
func (w *walk) readXattrs(ref *dirRef, raw string, it *dirIter) []xattr {
	if w.noXattrs.Load() {
		return nil
	}
	buf, name := it.list[:], raw
	if raw == "" {
		name = "."
	}
	n, err := listXattrs(ref, name, buf)
	for size := 4096; err == unix.ERANGE && size <= 1<<16; size *= 2 {
		buf = make([]byte, size)
		n, err = listXattrs(ref, name, buf)
	}
	switch {
	case err == unix.ENOTSUP:
		if raw == "" && ref.parent == nil {
			w.noXattrs.Store(true)
		}
		return nil
	case err == unix.ENOENT || n == 0 && err == nil:
		return nil
	case err != nil:
		w.problem(path.Join(ref.path(), raw), &os.PathError{Op: "llistxattr", Path: raw, Err: err})
		return nil
	}
	var out []xattr
	p := ref.proc + name
	for name := range bytes.SplitSeq(bytes.TrimSuffix(buf[:n], []byte{0}), []byte{0}) {
		if skipXattr(string(name)) {
			continue
		}
		v, err := lgetxattr(p, string(name))
		if err == unix.ENODATA || err == unix.ENOENT {
			continue
		}
		if err != nil {
			w.problem(path.Join(ref.path(), raw), &os.PathError{Op: "lgetxattr " + string(name), Path: raw, Err: err})
			continue
		}
		out = append(out, xattr{string(name), v})
	}
	return out
}

// noListxattrat is set once the kernel (before 6.13) turns out not to have listxattrat, which costs a third of
// the way through /proc.
var noListxattrat atomic.Bool

func listXattrs(ref *dirRef, name string, buf []byte) (int, error) {
	if !noListxattrat.Load() {
		p, err := unix.BytePtrFromString(name)
		if err != nil {
			return 0, err
		}
		n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(ref.fd), uintptr(unsafe.Pointer(p)), unix.AT_SYMLINK_NOFOLLOW,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.ENOSYS, unix.EPERM: // EPERM: a seccomp profile that does not know it
			noListxattrat.Store(true)
		default:
			return 0, errno
		}
	}
	return unix.Llistxattr(ref.proc+name, buf)
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
