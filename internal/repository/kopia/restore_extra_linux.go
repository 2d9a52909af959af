package kopia

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// tidy removes entries that the snapshot does not have from a restored directory, if DeleteExtra asks for it. It
// always removes temporary files of a restore that was killed.
func (r *restorer) tidy(fd int, rel string, dm *snapshot.DirManifest, recs map[string]*record, at treatment) {
	if !at.existed || r.opt.OnConflict == repository.ConflictFail {
		return
	}
	known := make(map[string]bool, len(dm.Entries))
	for _, x := range dm.Entries {
		if name, err := decodeName(x.Name); err == nil {
			known[name] = true
		}
	}
	for name, rec := range recs {
		known[name] = known[name] || rec.special != nil
	}
	extra, err := names(fd, func(name string) bool {
		return !known[name] && (r.opt.DeleteExtra || strings.HasPrefix(name, leftover))
	})
	if err != nil {
		r.fail(rel, err)
		return
	}
	for _, name := range extra {
		if strings.HasPrefix(name, leftover) {
			_ = unix.Unlinkat(fd, name, 0)
		} else if rel != "" || name != lostAndFound {
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
	rel := path.Join(relDir, name)
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
	if st.Dev != r.dev || !selected && !enter || r.keepsExtra(rel, st.Mode&unix.S_IFMT) {
		return
	}
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
		if !r.removeAll(dfd, rel, name) {
			return
		}
	}
	if !selected {
		return
	}
	switch err := unix.Unlinkat(dfd, name, flags); err {
	case nil:
		r.deleted.Add(1)
	case unix.ENOENT:
	case unix.ENOTEMPTY, unix.EEXIST: // an entry stays: it is excluded, or was created just now
	default:
		r.fail(rel, err)
	}
}

// removeAll removes the selected entries of a directory. It reports whether it could list them.
func (r *restorer) removeAll(dfd int, rel, name string) bool {
	fd, err := unix.Openat(dfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		var all []string
		if all, err = names(fd, func(string) bool { return true }); err == nil {
			for _, n := range all {
				r.remove(fd, rel, n)
			}
			return true
		}
	}
	r.fail(rel, err)
	return false
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
