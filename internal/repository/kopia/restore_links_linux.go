package kopia

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"
)

// linkGroup holds the names of a snapshot that carry one inode number. They need not be one file: a file system uses
// the number of a deleted file again at once, and a file can change between the look-ups of two of its names.
//
// A tree can have millions of such numbers, nearly all of them with one file. So a group holds its first file itself.
type linkGroup struct {
	file          linkDigest // of the first file
	states        []*linkState
	others        map[linkDigest][]*linkState // of any other files
	written, kept int64                       // files that were written, and names for which an existing file was kept
}

// of returns the states of a file.
func (g *linkGroup) of(file linkDigest) []*linkState {
	if g.file == file {
		return g.states
	}
	return g.others[file]
}

// set replaces the states of a file.
func (g *linkGroup) set(file linkDigest, states []*linkState) {
	switch {
	case g.file == file:
		g.states = states
	case g.others == nil:
		g.others = map[linkDigest][]*linkState{file: states}
	default:
		g.others[file] = states
	}
}

// linkDigest is the digest of a linkFile.
type linkDigest [16]byte

// linkFile is all that a snapshot knows of a file. Only names that agree in it are linked.
type linkFile struct {
	entryType, object string
	size              int64
	mode, uid, gid    uint32
	rdev              uint64
	time              timeRec
	xattrs            string
}

// linkState is one file with several names: the first goroutine writes the file, the others wait and link to it.
type linkState struct {
	done chan struct{} // written is its value afterwards
	rel  string        // path of the written file; empty if nothing was written
	file linkID        // the written file; whatever took its name since is another one
}

// written is the closed channel of all files that were written.
var written = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// errNoLink means that a name cannot be linked to a file that was written before.
var errNoLink = errors.New("not linked")

// linkDigestOf returns the digest of what the snapshot knows of an entry; de is nil for a special file.
func linkDigestOf(de *snapshot.DirEntry, rec *record) linkDigest {
	var f linkFile
	if de != nil {
		f = linkFile{
			entryType: string(de.Type), object: de.ObjectID.String(), size: de.FileSize, mode: uint32(de.Permissions),
			uid: de.UserID, gid: de.GroupID, time: changed(de, rec),
		}
	} else {
		sp := rec.special
		f = linkFile{mode: sp.mode, uid: sp.uid, gid: sp.gid, rdev: sp.rdev, time: sp.time}
	}
	if len(rec.xattrs) > 0 {
		f.xattrs = string((&record{xattrs: rec.xattrs}).append(nil))
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", f))
	return linkDigest(sum[:len(linkDigest{})])
}

// hardlink links a name to a file that was written before, or calls write if there is none. de is nil for a special
// file.
func (r *restorer) hardlink(
	dfd int, rel, name string, de *snapshot.DirEntry, rec *record, time timeRec, write func() error,
) error {
	file := linkDigestOf(de, rec)
	var tried []*linkState
	for {
		group, st, done := r.nextState(*rec.link, file, tried)
		if done == nil {
			return r.firstName(rel, rec, group, file, st, write)
		}
		<-done // the goroutine that writes the file waits for nobody
		if st.rel != "" {
			err := r.nextName(dfd, rel, name, st, time)
			if err == errSkipped {
				r.count(&group.kept)
			}
			if err != errNoLink {
				return err
			}
		}
		tried = append(tried, st)
	}
}

// maxStates is how many files a name tries to be linked to. There are several where a file has more names than its file
// system allows, or where its names lie on several file systems.
const maxStates = 4

// nextState returns a file that was not tried yet, the newest first, and a channel that is closed when it was written.
// If there is none, it makes one, which the caller writes first, and returns no channel.
func (r *restorer) nextState(id linkID, file linkDigest, tried []*linkState) (*linkGroup, *linkState, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	group := r.links[id]
	if group == nil {
		group = &linkGroup{file: file}
		r.links[id] = group
	}
	states := group.of(file)
	for _, st := range slices.Backward(states) {
		if !slices.Contains(tried, st) {
			return group, st, st.done
		}
	}
	st := &linkState{done: make(chan struct{})}
	states = append(slices.Clip(states), st)
	group.set(file, states[max(0, len(states)-maxStates):])
	return group, st, nil
}

// firstName writes a file to which the other names are linked.
func (r *restorer) firstName(
	rel string, rec *record, group *linkGroup, file linkDigest, st *linkState, write func() error,
) error {
	defer r.finish(st)
	err := write()
	switch {
	case err == errSkipped:
		r.count(&group.kept)
	case err == nil:
		r.count(&group.written)
		st.rel, st.file = rel, rec.made
		if rec.made == (linkID{}) { // nobody knows which file it is
			st.rel = ""
		}
	}
	if st.rel == "" {
		r.forget(group, file, st)
	}
	return err
}

// finish lets the other names of a file go on.
func (r *restorer) finish(st *linkState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(st.done)
	st.done = written
}

// nextName links a name to a written file. It returns errNoLink where that is not possible, or where another file took
// the written file's place.
func (r *restorer) nextName(dfd int, rel, name string, st *linkState, time timeRec) error {
	from, err := openBeneath(r.fd, path.Dir(st.rel), unix.O_RDONLY)
	if err != nil {
		return errNoLink
	}
	defer func() { _ = unix.Close(from) }()
	err = r.put(dfd, rel, name, time, func(n string) error {
		switch err := unix.Linkat(from, path.Base(st.rel), dfd, n, 0); err {
		case nil:
		case unix.EMLINK, unix.EPERM, unix.EXDEV, unix.ENOENT, unix.EOPNOTSUPP:
			return errNoLink
		default:
			return err
		}
		var got unix.Stat_t
		if err := unix.Fstatat(dfd, n, &got, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if (linkID{got.Dev, got.Ino}) != st.file {
			_ = unix.Unlinkat(dfd, n, 0)
			return errNoLink
		}
		if _, is := r.databases.Load(st.rel); is {
			r.databases.Store(rel, nil)
		}
		return nil
	})
	if err == nil {
		r.linked.Add(1)
	}
	return err
}

// forget drops a file that was not written.
func (r *restorer) forget(group *linkGroup, file linkDigest, st *linkState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	group.set(file, slices.DeleteFunc(slices.Clone(group.of(file)),
		func(other *linkState) bool { return other == st }))
}

func (r *restorer) count(n *int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

// linksLost returns how many names came back as files of their own, although another name has their inode number. The
// caller holds the lock.
func (r *restorer) linksLost() (n int64) {
	for _, group := range r.links {
		if group.written > 0 {
			n += group.written - 1 + min(group.kept, 1)
		}
	}
	return n
}
