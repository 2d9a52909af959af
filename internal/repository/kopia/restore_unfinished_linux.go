package kopia

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// A restore can be killed at any moment, and a node can lose its power. What is then left under a name of the snapshot
// must be whole: a later restore that keeps existing files takes it for restored. So each entry gets its name last: a
// file only when its data is on the disk. A file system takes long to bring one file to the disk, and hardly longer for
// thousands, so files wait for each other, and directories for their files.

// errExists means that a name is taken, and that nothing may be replaced.
var errExists = fmt.Errorf("exists already: %w", unix.EEXIST)

// Weights of what waits for the disk. A directory stays open meanwhile, and the number of open files is limited. A file
// takes room beside the one that it replaces, so that 256 MiB are as heavy as thousands of small files.
const (
	weightFile  = 1
	weightDir   = 16
	waitsFor    = 4096
	weightBytes = 256 << 20 / waitsFor // as many are as heavy as one file
)

// weightOf returns the weight of a file.
func weightOf(size int64) int { return weightFile + int(min(max(size, 0)/weightBytes, waitsFor)) }

// waiting holds what is done once the data that was written before is on the disk.
type waiting struct {
	turn sync.Mutex // one after the other: a directory is finished after its entries
	mu   sync.Mutex
	do   []func(disk error)
	sum  int // of the weights
}

// later calls do once the data that was written before is on the disk, or with the error of the disk. It calls what was
// given earlier before what was given later.
func (r *restorer) later(weight int, do func(disk error)) {
	w := &r.waiting
	w.mu.Lock()
	w.do, w.sum = append(w.do, do), w.sum+weight
	full := w.sum >= waitsFor
	w.mu.Unlock()
	if full {
		r.settle(waitsFor)
	}
}

// settle brings what was written to the disk, and then does what waits for it, if that weighs at least so much.
func (r *restorer) settle(least int) {
	w := &r.waiting
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	if w.sum < least {
		w.mu.Unlock()
		return
	}
	all := w.do
	w.do, w.sum = nil, 0
	w.mu.Unlock()
	err := r.e.syncfs(r.fd)
	for _, do := range all {
		do(err)
	}
	if err != nil { // the kernel tells it only once, and not every entry waits for the disk
		_ = r.ended(".", 0, fmt.Errorf("bring it to the disk: %w", err))
	}
}

// step is called before each change of the target. A test ends the restore there.
func (r *restorer) step() {
	if r.e.step != nil {
		r.e.step()
	}
}

// did notes that a change of the target was made, unless err says that it was not. It returns err.
func (r *restorer) did(err error) error {
	if err == nil {
		r.touched.Store(true)
	}
	return err
}

// newName returns a name for an entry that is not whole yet. The caller removes it from inUse.
func (r *restorer) newName() string {
	name := repository.NewUnfinishedName()
	r.inUse.Store(name, nil)
	return name
}

// dropLeftovers removes what killed restores left in an open directory, but no entry of a name that the snapshot has.
func (r *restorer) dropLeftovers(fd int, rel string, known func() map[string]bool) {
	left, err := names(fd, func(name string) bool {
		_, used := r.inUse.Load(name)
		return !used && repository.IsUnfinishedName(name)
	})
	if err != nil {
		r.fail(rel, err)
		return
	}
	if len(left) == 0 {
		return
	}
	ours := known()
	for _, name := range left {
		if !ours[name] {
			r.dropUnfinished(fd, name)
		}
	}
}

// put calls create with a name that must not exist, and moves the result into place as OnConflict says. The entry
// of the snapshot was modified at t.
func (r *restorer) put(dfd int, rel, name string, t timeRec, create func(name string) error) error {
	move, err := r.make(dfd, rel, name, t, create)
	if err != nil {
		return err
	}
	return move(nil)
}

// make is put without the last step, which the returned function takes unless the disk has an error.
func (r *restorer) make(
	dfd int, rel, name string, t timeRec, create func(name string) error,
) (move func(disk error) error, _ error) {
	replaces, err := r.prepare(dfd, rel, name, t)
	if err != nil {
		return nil, err
	}
	tmp := r.newName()
	r.step()
	if err := r.did(create(tmp)); err != nil {
		r.step()
		_ = r.did(unix.Unlinkat(dfd, tmp, 0)) // else it was never there
		r.inUse.Delete(tmp)
		return nil, err
	}
	return func(disk error) error {
		defer r.inUse.Delete(tmp)
		err := disk
		if err == nil && replaces && r.keepsNow(dfd, name, t) {
			err = errSkipped
		}
		if err == nil {
			err = r.placeWithout(dfd, rel, tmp, name, replaces)
		}
		if err != nil || replaces { // after a success it exists only where both names were the same file
			_ = unix.Unlinkat(dfd, tmp, 0)
		}
		if err == nil && replaces {
			r.overwritten.Add(1)
		}
		keeps := r.opt.OnConflict == repository.ConflictSkip || r.opt.OnConflict == repository.ConflictNewer
		if err == errExists && keeps { // somebody wrote it just now
			return errSkipped
		}
		return err
	}, nil
}

// placeWithout gives an entry its name, without what lies beside a database of another state.
func (r *restorer) placeWithout(dfd int, rel, tmp, name string, replaces bool) error {
	aside, err := r.setAside(dfd, rel, name, replaces)
	if err != nil {
		return err
	}
	if err := r.rename(dfd, tmp, name, replaces); err != nil {
		return r.putBack(dfd, name, aside, err)
	}
	r.dropCompanions(dfd, rel, aside)
	return nil
}

// keepsNow reports whether what has the name stays. An entry waits long for the disk: an application may have written
// meanwhile. The entry of the snapshot was modified at t.
func (r *restorer) keepsNow(dfd int, name string, t timeRec) bool {
	var st unix.Stat_t
	return unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && r.keeps(&st, t)
}

// rename gives an entry its name. Without replaces it fails where the name was taken meanwhile.
func (r *restorer) rename(dfd int, tmp, name string, replaces bool) error {
	r.step()
	if replaces {
		return unix.Renameat(dfd, tmp, dfd, name)
	}
	err := unix.Renameat2(dfd, tmp, dfd, name, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS || err == unix.ENOTSUP { // as on NFS
		var st unix.Stat_t
		if err = unix.EEXIST; unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == unix.ENOENT {
			err = unix.Renameat(dfd, tmp, dfd, name)
		}
	}
	if err == unix.EEXIST {
		return errExists
	}
	return err
}
