package tree

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Manifest writes a line for every entry below dir, and for dir itself unless
// skipRoot, in a fixed order, and then a line "sha256 HEX entries N" with the
// SHA-256 over the lines before it. Equal trees have equal manifests. A line is
//
//	TYPE MODE UID GID MTIME SIZE SPARSE SHA256 PATH[ -> TARGET]
//
// TYPE is one of "file", "dir", "link", "fifo", "socket", "char", "block"; MODE
// is octal with the special bits; MTIME is seconds since 1970, rounded down,
// and nanoseconds; SIZE is 0 for all but files and links; SPARSE is "yes" or
// "no", a hint taken from the blocks in use; SHA256 is that of a file's
// content, "unreadable" if this user may not read it, and "-" for all else;
// PATH and TARGET are Go string literals. Hard links look like separate files.
func Manifest(w io.Writer, dir string, skipRoot bool) error {
	out := bufio.NewWriter(w)
	sum, entries := sha256.New(), 0
	lines := io.MultiWriter(out, sum)
	err := walk(dir, func(rel, path string, fi fs.FileInfo, st *syscall.Stat_t) error {
		if skipRoot && rel == "." {
			return nil
		}
		line, err := describe(rel, path, fi, st)
		if err != nil {
			return err
		}
		entries++
		_, err = io.WriteString(lines, line+"\n")
		return err
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	fmt.Fprintf(out, "sha256 %s entries %d\n", hex.EncodeToString(sum.Sum(nil)), entries)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

func describe(rel, path string, fi fs.FileInfo, st *syscall.Stat_t) (string, error) {
	size, hash, hole, name := int64(0), "-", "no", strconv.Quote(rel)
	switch {
	case fi.Mode().IsRegular():
		size = fi.Size()
		if sparse(fi, st) {
			hole = "yes"
		}
		var err error
		if hash, err = hashFile(path); err != nil {
			return "", err
		}
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		size = int64(len(target))
		name += " -> " + strconv.Quote(target)
	}
	return fmt.Sprintf("%s %04o %d %d %d.%09d %d %s %s %s",
		kind(fi.Mode()), st.Mode&0o7777, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, size, hole, hash, name), nil
}

func kind(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "file"
	case fs.ModeDir:
		return "dir"
	case fs.ModeSymlink:
		return "link"
	case fs.ModeNamedPipe:
		return "fifo"
	case fs.ModeSocket:
		return "socket"
	case fs.ModeDevice | fs.ModeCharDevice:
		return "char"
	default:
		return "block"
	}
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return "unreadable", nil
	} else if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
