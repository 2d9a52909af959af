package kopia

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"
)

// setAttrs sets the attributes of an entry. The order matters: chown clears set-id bits and capabilities, an ACL
// changes the mode, the mode can discard an ACL of NFSv4, and everything changes the time.
func (r *restorer) setAttrs(p place, de *snapshot.DirEntry, rec *record) {
	if rec != nil && rec.link != nil {
		rec.made = p.id()
	}
	if de.Type != snapshot.EntryTypeDirectory && de.Type != snapshot.EntryTypeSymlink {
		r.disinherit(p, aclAccess)
	}
	r.setOwner(p, de)
	r.setXattrs(p, rec, false)
	if de.Type != snapshot.EntryTypeSymlink {
		r.setMode(p, de)
	}
	r.setXattrs(p, rec, true)
	r.setTime(p, de, rec)
}

// The names of the ACLs.
const aclAccess, aclDefault = "system.posix_acl_access", "system.posix_acl_default"

// dropDefaultACL removes the default ACL of an existing directory before it is filled, if the directory gets the
// attributes of the snapshot: else every new entry inherits it. The ACL of the snapshot is set at the end. If it stays,
// each new entry loses what it inherits.
func (r *restorer) dropDefaultACL(fd int, may bool) {
	if may && r.did(unix.Fremovexattr(fd, aclDefault)) == nil {
		return
	}
	if _, err := unix.Fgetxattr(fd, aclDefault, nil); err == nil {
		r.inherits.Store(true)
	}
}

// disinherit removes ACLs that a new entry may have from its directory.
func (r *restorer) disinherit(p place, names ...string) {
	if !r.inherits.Load() {
		return
	}
	for _, name := range names {
		r.step()
		err := p.removeXattr(name)
		if err != nil && err != unix.ENODATA && err != unix.ENOTSUP {
			r.lost(&r.attrsLost, p.rel, fmt.Errorf("remove attribute %s: %w", name, err))
		}
	}
}

// dropXattrs removes attributes from an existing directory that the snapshot's directory does not have. It leaves those
// alone that belong to the host or to the file system: they are in no name space of users, and no ACLs of POSIX.
func (r *restorer) dropXattrs(p place, rec *record) {
	names, err := listXattrs(p.fd)
	if err != nil && err != unix.ENOTSUP {
		r.lost(&r.attrsLost, p.rel, fmt.Errorf("list attributes: %w", err))
	}
	for _, name := range names {
		ofUser := strings.HasPrefix(name, "user.") || name == aclAccess || name == aclDefault
		if !ofUser || rec != nil && slices.ContainsFunc(rec.xattrs, func(x xattr) bool { return x.name == name }) {
			continue
		}
		r.step()
		if err := r.did(p.removeXattr(name)); err != nil && err != unix.ENODATA {
			r.lost(&r.attrsLost, p.rel, fmt.Errorf("remove attribute %s: %w", name, err))
		}
	}
}

// listXattrs returns the names of the attributes of an open entry.
func listXattrs(fd int) ([]string, error) {
	buf := make([]byte, firstList)
	n, err := unix.Flistxattr(fd, buf)
	if err == unix.ERANGE {
		buf = make([]byte, longest)
		n, err = unix.Flistxattr(fd, buf)
	}
	if err != nil || n == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

func (r *restorer) setOwner(p place, de *snapshot.DirEntry) {
	if !r.opt.Owners {
		if !r.belongs(p, de) {
			r.ownersLost.Add(1)
		}
		return
	}
	r.step()
	if err := r.did(p.chown(int(de.UserID), int(de.GroupID))); err != nil {
		r.lost(&r.ownersLost, p.rel, fmt.Errorf("set owner: %w", err))
	}
}

// belongs reports whether an entry has the owner and group of the snapshot although the owner cannot be set. A new
// entry can have got the group of its directory. A user can give it to another group that they are in. The root
// directory of the target, which nobody made here, counts by the user alone.
func (r *restorer) belongs(p place, de *snapshot.DirEntry) bool {
	st := unix.Stat_t{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	if p.rel != "" && fstat(p.fd, &st) != nil {
		return false
	}
	if st.Uid == de.UserID && st.Gid != de.GroupID && os.Geteuid() != 0 {
		r.step()
		if r.did(p.chown(-1, int(de.GroupID))) == nil {
			st.Gid = de.GroupID
		}
	}
	return st.Uid == de.UserID && st.Gid == de.GroupID
}

// isACLOfNFSv4 reports whether an attribute is an ACL of NFSv4, in one of the forms of Linux and of ZFS.
func isACLOfNFSv4(name string) bool { return strings.HasPrefix(name, "system.nfs4_") }

// setXattrs sets the attributes that come before the mode of an entry, or those that come after it.
func (r *restorer) setXattrs(p place, rec *record, afterMode bool) {
	if rec == nil {
		return
	}
	for _, x := range rec.xattrs {
		if isACLOfNFSv4(x.name) != afterMode {
			continue
		}
		if x.name == "security.capability" && !r.opt.SetID {
			r.lost(&r.attrsLost, p.rel, errors.New("capabilities not restored: not asked for"))
			continue
		}
		r.step()
		if err := r.did(p.setXattr(x.name, []byte(x.value))); err != nil {
			r.lost(&r.attrsLost, p.rel, fmt.Errorf("set attribute %s: %w", x.name, err))
		}
	}
}

func (r *restorer) setMode(p place, de *snapshot.DirEntry) {
	mode := unixMode(de.Permissions)
	if !r.opt.SetID && de.Type != snapshot.EntryTypeDirectory && mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		mode &^= unix.S_ISUID | unix.S_ISGID
		r.lost(&r.modesLost, p.rel, errors.New("set-id bits not restored: not asked for"))
	}
	r.step()
	err := r.did(p.chmod(mode))
	if err == nil && mode&unix.S_ISGID != 0 {
		err = keptSetGID(p)
	}
	if err != nil {
		r.lost(&r.modesLost, p.rel, fmt.Errorf("set mode: %w", err))
	}
}

// keptSetGID returns an error if an entry does not have the set-group-ID bit that was set. The kernel drops it without
// a word unless the user is in the group of the entry.
func keptSetGID(p place) error {
	var st unix.Stat_t
	if err := fstat(p.fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_ISGID == 0 {
		return errors.New("the set-group-ID bit was dropped")
	}
	return nil
}

func (r *restorer) setTime(p place, de *snapshot.DirEntry, rec *record) {
	t := changed(de, rec)
	r.step()
	if err := r.did(p.setTime(unix.Timespec{Sec: t.sec, Nsec: t.nsec})); err != nil {
		r.lost(&r.attrsLost, p.rel, fmt.Errorf("set time: %w", err))
	}
}

// lost counts and records an attribute of an entry that was not restored.
func (r *restorer) lost(count *atomic.Int64, rel string, err error) {
	count.Add(1)
	r.problem(rel, err)
}

// unixMode undoes fileMode for the permission bits.
func unixMode(p snapshot.Permissions) uint32 {
	m := uint32(p) & 0o777
	for _, b := range []struct {
		g snapshot.Permissions
		u uint32
	}{
		{snapshot.Permissions(os.ModeSetuid), unix.S_ISUID},
		{snapshot.Permissions(os.ModeSetgid), unix.S_ISGID},
		{snapshot.Permissions(os.ModeSticky), unix.S_ISVTX},
	} {
		if p&b.g != 0 {
			m |= b.u
		}
	}
	return m
}
