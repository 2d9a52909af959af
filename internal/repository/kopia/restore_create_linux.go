package kopia

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"
)

func (r *restorer) symlink(ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, rec *record) error {
	rd, err := r.e.rep.OpenObject(ctx, de.ObjectID)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	target, err := io.ReadAll(io.LimitReader(rd, unix.PathMax))
	if err != nil {
		return err
	}
	err = r.put(dfd, rel, name, changed(de, rec), func(n string) error {
		if err := unix.Symlinkat(string(target), dfd, n); err != nil {
			return err
		}
		return r.hold(dfd, n, rel, unix.S_IFLNK, 0, func(p place) { r.setAttrs(p, de, rec) })
	})
	if err == nil {
		r.files.Add(1)
	}
	return err
}

// specials makes the FIFOs and devices of a directory. An error means that nothing more can be restored.
func (r *restorer) specials(ctx context.Context, dfd int, relDir string, recs map[string]*record) error {
	for name, rec := range recs {
		if rec.special == nil {
			continue
		}
		if selected, _ := r.sel.Takes(path.Join(relDir, name), false); selected {
			if err := r.mknod(ctx, dfd, relDir, name, rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// mknod makes a FIFO or a device. An error means that nothing more can be restored.
func (r *restorer) mknod(ctx context.Context, dfd int, relDir, name string, rec *record) error {
	rel, sp := path.Join(relDir, name), rec.special
	typ := sp.mode & unix.S_IFMT
	count := &r.devicesLost
	if typ == unix.S_IFIFO {
		count = &r.attrsLost
	}
	if typ != unix.S_IFIFO && !(r.opt.Devices && (typ == unix.S_IFCHR || typ == unix.S_IFBLK)) {
		r.lost(count, rel, errors.New("device not restored: not asked for"))
		return nil
	}
	write := func() error {
		err := r.put(dfd, rel, name, sp.time, func(n string) error {
			if err := unix.Mknodat(dfd, n, typ|0o600, int(sp.rdev)); err != nil {
				return err
			}
			de := &snapshot.DirEntry{
				UserID: sp.uid, GroupID: sp.gid, Permissions: snapshot.Permissions(fileMode(sp.mode)),
			}
			rec.time = &sp.time
			return r.hold(dfd, n, rel, typ, sp.rdev, func(p place) { r.setAttrs(p, de, rec) })
		})
		if err == nil {
			r.special.Add(1)
		}
		return err
	}
	do := write
	if rec.link != nil {
		do = func() error { return r.hardlink(dfd, rel, name, nil, rec, sp.time, write) }
	}
	err := r.withRoom(ctx, 0, do)
	switch {
	case err == errSkipped:
		r.skipped.Add(1)
	case r.endsAll(err):
		return r.ended(rel, 0, err)
	case err != nil:
		r.lost(count, rel, err)
	}
	return nil
}

// openBeneath opens a directory below fd without following any symbolic link or leaving it. access is O_RDONLY or
// O_PATH.
func openBeneath(fd int, rel string, access int) (int, error) {
	flags := access | unix.O_DIRECTORY | unix.O_CLOEXEC
	if len(rel) < unix.PathMax-1 {
		for {
			d, err := unix.Openat2(fd, rel,
				&unix.OpenHow{
					Flags:   uint64(flags),
					Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
				})
			if err == unix.EAGAIN || err == unix.EINTR {
				continue
			}
			if err != unix.ENOSYS && err != unix.EPERM { // old kernel, or an old seccomp profile
				return d, err
			}
			break
		}
	}
	d, err := unix.Openat(fd, ".", flags, 0)
	for c := range strings.SplitSeq(rel, "/") {
		if err != nil || c == "." || c == "" {
			continue
		}
		if c == ".." {
			_ = unix.Close(d)
			return -1, unix.EXDEV
		}
		next, err2 := unix.Openat(d, c, flags|unix.O_NOFOLLOW, 0)
		_ = unix.Close(d)
		d, err = next, err2
	}
	return d, err
}
