package kopia

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// knownIn returns the names of the entries of a directory of the snapshot.
func knownIn(dm *snapshot.DirManifest, recs map[string]*record) map[string]bool {
	known := make(map[string]bool, len(dm.Entries))
	for _, x := range dm.Entries {
		if name, err := decodeName(x.Name); err == nil && x.Name != attrName {
			known[name] = true
		}
	}
	for name, rec := range recs {
		known[name] = known[name] || rec.special != nil
	}
	return known
}

// tidy removes entries that the snapshot does not have from a directory that existed. A mark goes only when the
// attributes are set.
func (r *restorer) tidy(fd int, rel string, known map[string]bool) {
	found, err := names(fd, func(name string) bool { return name != repository.RestoreMark && !known[name] })
	if err != nil {
		r.fail(rel, err)
		return
	}
	var extra []string
	for _, name := range found {
		if repository.IsUnfinishedName(name) {
			r.dropUnfinished(fd, name)
		} else {
			extra = append(extra, name)
		}
	}
	for _, name := range r.reallyExtra(fd, rel, known, extra) {
		if rel != "" || name != lostAndFound {
			r.remove(fd, rel, name)
		}
	}
}

// names returns the names in an open directory for which want returns true.
func names(fd int, want func(string) bool) ([]string, error) {
	d, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(d), ".")
	defer func() { _ = f.Close() }()
	var out []string
	for {
		batch, err := f.Readdirnames(1000)
		for _, name := range batch {
			if want(name) {
				out = append(out, name)
			}
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// remove deletes the selected part of an entry that the snapshot does not have. It follows no symbolic link and
// enters no other file system. An entry that cannot be deleted makes the restore fail.
func (r *restorer) remove(dfd int, relDir, name string) {
	r.removeEntry(dfd, path.Join(relDir, name), name, false)
}

// removeEntry removes an entry. replaced says that the snapshot has another one of its name, or of the name of a
// directory around it.
func (r *restorer) removeEntry(dfd int, rel, name string, replaced bool) {
	var st unix.Stat_t
	err := unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return
	}
	if err != nil {
		r.fail(rel, err)
		return
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	selected, enter := r.sel.Takes(rel, dir)
	other := st.Dev != r.dev
	if !selected && !enter || other && isMount(dfd, name) || r.keepsExtra(rel, st.Mode&unix.S_IFMT, replaced) {
		return
	}
	if other { // a subvolume, which a user may have made to keep what the restore replaces
		if !replaced {
			r.extraKept.Add(1)
		}
		return
	}
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
		if !r.removeAll(dfd, rel, name, replaced) {
			return
		}
	}
	if !selected {
		return
	}
	r.step()
	switch err := r.did(unix.Unlinkat(dfd, name, flags)); {
	case err == nil:
		r.deleted.Add(1)
	case err == unix.ENOENT:
	case err == unix.EBUSY && isHidden(name): // it goes by itself, once its program has closed it
	case err == unix.ENOTEMPTY || err == unix.EEXIST: // an entry stays: it is excluded, or was created just now
	default:
		r.fail(rel, err)
	}
}

// isHidden reports whether NFS or FUSE gives such a name to a file that was deleted while a program had it open.
func isHidden(name string) bool {
	return strings.HasPrefix(name, ".nfs") || strings.HasPrefix(name, ".fuse_hidden")
}

// isMount reports whether something is mounted on an entry. It does so, too, where the kernel does not tell.
func isMount(dfd int, name string) bool {
	var x unix.Statx_t
	err := unix.Statx(dfd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &x)
	const root = unix.STATX_ATTR_MOUNT_ROOT
	return err != nil || x.Attributes_mask&root == 0 || x.Attributes&root != 0
}

// removeAll removes the selected entries of a directory. It reports whether it could list them. replaced says that the
// snapshot has no directory there, so that the backup left nothing in it out.
func (r *restorer) removeAll(dfd int, rel, name string, replaced bool) bool {
	fd, reset, err := r.openOwn(dfd, name)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		if reset != nil {
			defer reset(fd) // it can stay
		}
		var all []string
		if all, err = names(fd, func(string) bool { return true }); err == nil {
			for _, n := range all {
				r.removeEntry(fd, path.Join(rel, n), n, replaced)
			}
			return true
		}
	}
	r.fail(rel, err)
	return false
}

// A database of SQLite is one with the files beside it: whoever opens it next plays back what they hold. Beside a file
// of another state they make it that newer state again, or malformed. So those that are beside a database which a
// restore writes go, unless the restore writes them, too. They lose their names first: a restore that is killed in
// between has not written the database, and the next one comes here again, whatever it keeps. Where the database can't
// be replaced, they get their names back: it would lack what they hold.

// suffixes are what SQLite adds to the name of a database for the files beside it.
var suffixes = []string{"-wal", "-shm", "-journal"}

// isDatabase reports whether a file that begins with b is a database of SQLite. An encrypted one does not show it.
func isDatabase(b []byte) bool { return bytes.HasPrefix(b, []byte("SQLite format 3\x00")) }

// expect notes which files beside databases a directory gets from the snapshot.
func (r *restorer) expect(rel string, dm *snapshot.DirManifest) {
	for _, x := range dm.Entries {
		lower := strings.ToLower(x.Name)
		if !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(lower, s) }) {
			continue
		}
		name, err := decodeName(x.Name)
		selected, _ := r.sel.Takes(path.Join(rel, name), x.Type == snapshot.EntryTypeDirectory)
		if err == nil && selected {
			r.companions.Store(path.Join(rel, folded(name)), nil)
		}
	}
}

// stale returns the suffixes of the files beside a database that belong to another state of it.
func (r *restorer) stale(dfd int, rel, name string) (out []string) {
	for _, suffix := range suffixes {
		var st unix.Stat_t
		err := unix.Fstatat(dfd, name+suffix, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || r.sel.Excludes(rel+suffix, false) {
			continue
		}
		if _, comes := r.companions.Load(path.Join(path.Dir(rel), folded(name+suffix))); !comes {
			out = append(out, suffix)
		}
	}
	return out
}

// companion is a file beside a database that has lost its name.
type companion struct{ suffix, now string }

// setAside takes the names of the files of another state of a database away, just before the database gets its name.
// The caller passes them to putBack or to dropCompanions. If it returns an error, they have their names, or the error
// says which do not.
func (r *restorer) setAside(dfd int, rel, name string, replaces bool) (aside []companion, _ error) {
	if _, is := r.databases.Load(rel); !is || r.opt.OnConflict == repository.ConflictFail {
		return nil, nil
	}
	if !replaces && unix.Fstatat(dfd, name, &unix.Stat_t{}, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return nil, nil // somebody made a database just now, and it stays
	}
	for _, suffix := range r.stale(dfd, rel, name) {
		now := r.newName()
		r.step()
		switch err := r.did(unix.Renameat(dfd, name+suffix, dfd, now)); err {
		case nil:
			aside = append(aside, companion{suffix, now})
		case unix.ENOENT:
			r.inUse.Delete(now)
		default:
			r.inUse.Delete(now)
			return nil, r.putBack(dfd, name, aside, fmt.Errorf("remove %s of the replaced database: %w", suffix, err))
		}
	}
	return aside, nil
}

// putBack gives the files beside a database that was not replaced their names back. It returns why it was not.
func (r *restorer) putBack(dfd int, name string, aside []companion, why error) error {
	for _, c := range slices.Backward(aside) {
		if err := r.rename(dfd, c.now, name+c.suffix, false); err != nil {
			why = fmt.Errorf("%w; %s of the database is now %s: %w", why, c.suffix, c.now, err)
		}
		r.inUse.Delete(c.now)
	}
	return why
}

// dropCompanions removes the files beside a database that was replaced. The next restore removes what can't be removed.
func (r *restorer) dropCompanions(dfd int, rel string, aside []companion) {
	for _, c := range aside {
		r.step()
		err := unix.Unlinkat(dfd, c.now, 0)
		r.inUse.Delete(c.now)
		if err != nil {
			continue
		}
		r.deleted.Add(1)
		r.say(rel+c.suffix, "removed, because it belongs to the database that the restore replaced")
	}
}

// tellProgress reports progress at intervals until the returned function is called.
func (r *restorer) tellProgress() func() {
	if r.opt.Progress == nil {
		return func() {}
	}
	tell := func() {
		r.opt.Progress(repository.RestoreProgress{
			FilesDone: r.files.Load() + r.linked.Load() + r.skipped.Load(), BytesDone: r.bytes.Load() + r.passed.Load(),
		})
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(cmp.Or(r.opt.ProgressEvery, time.Second))
		defer t.Stop()
		for {
			select {
			case <-t.C:
				tell()
			case <-quit:
				tell()
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}
