package kopia

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"sync/atomic"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Compare compares a restored tree with the snapshot. It goes depth first, like Restore.
func (e *repoEngine) Compare(
	ctx context.Context, id, target string, opt repository.RestoreOptions,
) (_ repository.CompareResult, err error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	defer e.packs.begin()()
	defer func() { e.saw(id, err) }()
	r, err := e.newRestorer(ctx, "compare", id, target, opt)
	if err != nil {
		return repository.CompareResult{}, err
	}
	defer func() { _ = unix.Close(r.fd) }()
	c := &comparer{restorer: r}
	if r.entry.Type == snapshot.EntryTypeDirectory {
		err = c.dir(ctx, r.fd, "", r.entry)
	} else {
		var name string
		if name, err = decodeName(r.entry.Name); err == nil {
			err = c.compare(ctx, r.fd, "", name, r.entry, true)
		}
	}
	res := repository.CompareResult{
		Files: c.files.Load(), Bytes: c.bytes.Load(), Different: c.different.Load(), Unreadable: c.unreadable.Load(),
		Doubtful: c.doubtful.Load(), Problems: c.problems,
	}
	if ctx.Err() != nil {
		return res, classify("compare", context.Cause(ctx))
	}
	return res, classify("compare", cause(ctx, err))
}

// comparer is one comparison. It uses the counts and rules of the restorer.
type comparer struct {
	*restorer
	different, unreadable, doubtful atomic.Int64
}

// dir compares the entries of an open directory. It returns only errors of the repository.
func (c *comparer) dir(ctx context.Context, fd int, rel string, de *snapshot.DirEntry) error {
	dm, err := c.e.readDir(ctx, de.ObjectID)
	if err != nil {
		return err
	}
	c.expect(rel, dm)
	err = c.each(ctx, rel, dm, func(_ *snapshot.DirEntry, err error) error { return err },
		func(name string, x *snapshot.DirEntry, selected bool) error {
			return c.compare(ctx, fd, rel, name, x, selected)
		})
	return firstError(err, ctx.Err())
}

// compare compares one entry. A directory that only leads to selected entries need not exist.
func (c *comparer) compare(
	ctx context.Context, dfd int, relDir, name string, de *snapshot.DirEntry, selected bool,
) error {
	rel := path.Join(relDir, name)
	kept := c.opt.Kept.Has(rel)
	if kept && !c.opt.Again {
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(dfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT && !selected {
		return nil
	}
	if err != nil {
		return c.miss(rel, err)
	}
	if kept {
		return c.doubt(ctx, dfd, rel, name, de, &st)
	}
	return c.entry(ctx, dfd, rel, name, de, &st)
}

// doubt compares an entry that the restore kept, and that an earlier restore could have written. What is in the place
// of a directory was no restore's work.
func (c *comparer) doubt(
	ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, st *unix.Stat_t,
) error {
	t := changed(de, nil)
	if de.Type == snapshot.EntryTypeDirectory || st.Mtim.Sec != t.sec || st.Mtim.Nsec != t.nsec {
		return nil
	}
	alone := &comparer{restorer: c.restorer}
	err := alone.entry(ctx, dfd, rel, name, de, st)
	c.doubtful.Add(alone.different.Load() + alone.unreadable.Load())
	return err
}

// entry compares one entry that exists.
func (c *comparer) entry(
	ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry, st *unix.Stat_t,
) error {
	typ := st.Mode & unix.S_IFMT
	switch {
	case de.Type == snapshot.EntryTypeDirectory && typ == unix.S_IFDIR:
		fd, err := unix.Openat(dfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			if rel == lostAndFound {
				return nil
			}
			return c.miss(rel, err)
		}
		defer func() { _ = unix.Close(fd) }()
		return c.dir(ctx, fd, rel, de)
	case de.Type == snapshot.EntryTypeSymlink && typ == unix.S_IFLNK:
		return c.link(ctx, dfd, rel, name, de)
	case de.Type == snapshot.EntryTypeFile && typ == unix.S_IFREG && st.Size == de.FileSize:
		return c.file(ctx, dfd, rel, name, de)
	}
	c.differs(rel, "type or size")
	return nil
}

// miss counts an entry that does not exist or cannot be read.
func (c *comparer) miss(rel string, err error) error {
	if err == unix.ENOENT {
		c.differs(rel, "missing")
		return nil
	}
	c.unreadable.Add(1)
	c.problem(rel, err)
	return nil
}

func (c *comparer) differs(rel, what string) {
	c.different.Add(1)
	c.problem(rel, errors.New(what))
	c.say(rel, "differs from the snapshot: "+what)
}

func (c *comparer) link(ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry) error {
	rd, err := c.e.rep.OpenObject(ctx, de.ObjectID)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	want, err := io.ReadAll(io.LimitReader(rd, unix.PathMax))
	if err != nil {
		return err
	}
	got := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dfd, name, got)
	if err != nil {
		return c.miss(rel, err)
	}
	if !bytes.Equal(got[:n], want) {
		c.differs(rel, "target of the link")
		return nil
	}
	c.files.Add(1)
	return nil
}

// file compares content. It asks the kernel to drop the cached pages first, so that the disk is read.
func (c *comparer) file(ctx context.Context, dfd int, rel, name string, de *snapshot.DirEntry) error {
	c.step()
	fd, err := unix.Openat(dfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return c.miss(rel, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return c.miss(rel, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG { // a FIFO can have replaced the file, and may never have data or an end
		c.differs(rel, "type or size")
		return nil
	}
	if de.FileSize == 0 {
		c.files.Add(1)
		return nil
	}
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
	rd, err := c.e.rep.OpenObject(ctx, de.ObjectID)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	want, got := buffers.Get().(*[256 << 10]byte), buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(want)
	defer buffers.Put(got)
	for first := true; ; first = false {
		n, err := io.ReadFull(rd, want[:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		if first && isDatabase(want[:n]) && !c.opt.Kept.Has(rel) {
			for _, suffix := range c.stale(dfd, rel, name) {
				c.differs(rel+suffix, "belongs to another state of the database")
			}
		}
		m, err2 := io.ReadFull(f, got[:])
		if err2 != nil && err2 != io.EOF && err2 != io.ErrUnexpectedEOF {
			return c.miss(rel, err2)
		}
		if !bytes.Equal(want[:n], got[:m]) {
			c.differs(rel, "content")
			return nil
		}
		c.bytes.Add(int64(n))
		if err != nil {
			c.files.Add(1)
			return nil
		}
	}
}
