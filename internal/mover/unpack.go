package mover

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/mover/unpack"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// unpackable refuses flags and rules that don't suit an archive that is unpacked.
func unpackable(t task.Task, flags Flags) *failure.Failure {
	if flags.Unpack == "" {
		return nil
	}
	rules := rulesOf(t)
	wrong := ""
	switch {
	case !filepath.IsLocal(flags.Unpack) || judge.Below(flags.Unpack) == "" &&
		slices.ContainsFunc(t.Components, func(c task.Component) bool { return c.Stream == nil }):
		wrong = "the parameter unpack must name a directory inside the volume, such as pgdata"
	case len(flags.Include)+len(flags.Exclude) > 0:
		wrong = "an archive is unpacked as a whole: include and exclude are not possible"
	case rules.Verify:
		wrong = "an unpacked archive can't be verified"
	case rules.Overwrite != "" && rules.Overwrite != v1alpha1.OverwriteAlways:
		wrong = "an archive is unpacked as a whole: overwritePolicy can only be Overwrite"
	default:
		return nil
	}
	return failure.New(v1alpha1.ReasonInvalidTask, wrong)
}

// rulesOf returns the rules of a restore. A task without rules has the strictest.
func rulesOf(t task.Task) task.Restore {
	if t.Restore == nil {
		return task.Restore{}
	}
	return *t.Restore
}

// restoreArchive makes files in a directory of the component's volume from what a program wrote: the mover unpacks a
// tar archive, and the component's own program reads anything else. The directory must be empty, because the files of
// two databases in one directory are of no use. A directory that is not empty is emptied if deleteExtraFiles was
// confirmed, or if an earlier attempt left its content.
func (m *Mover) restoreArchive(
	ctx context.Context, t task.Task, flags Flags, engine repository.Engine,
	c task.Component, began time.Time,
) (task.ComponentResult, *failure.Failure) {
	c.Path = judge.Below(path.Join(c.Path, flags.Unpack))
	r, rules := unrestored(c), rulesOf(t)
	dir, volumeEmpty, f := m.target(c, rules, &r)
	if f != nil {
		r.TargetEmpty = volumeEmpty && !rules.Group
		return r, f
	}
	defer func() { _ = dir.Close() }()
	empty, err := isEmpty(dir.File)
	if err != nil {
		return r, unwritable(err)
	}
	if replace := c.Resume || rules.DeleteExtra && rules.Overwrite != ""; !empty && !replace {
		return r, failure.New(v1alpha1.ReasonVolumeNotEmpty,
			fmt.Sprintf("directory /%s of the volume is not empty: restore into another directory, or set confirm and "+
				"deleteExtraFiles to replace its whole content", c.Path))
	}
	if c.Stream != nil {
		if err := m.unpacker(ctx, c).look(); err != nil {
			return r, loadFailure(err)
		}
	}
	root, err := os.OpenRoot(dir.path())
	if err != nil {
		return r, unwritable(err)
	}
	defer func() { _ = root.Close() }()
	r.TargetWritten = empty || c.Resume
	report := restoring{m: m, t: t, c: c, began: began, last: began, written: r.TargetWritten}
	ctx, end, f := report.begin(ctx)
	if f != nil {
		return r, f
	}
	defer end()
	kept := &countingWriter{progress: report.progress(ctx)}
	if c.Stream != nil {
		r.Files, err = m.unpackBy(ctx, engine, c, root, kept)
	} else {
		u := unpack.Unpacker{Root: root, Owners: m.Privileged}
		err = restoreThroughPipe(ctx, engine, c.ID, kept, u.Unpack)
		r.Files, r.OwnersNotRestored = u.Files, u.Foreign
	}
	if err == nil {
		err = unpack.Unwritable(unix.Syncfs(int(dir.Fd())))
	}
	r.SizeBytes = kept.bytes
	if err != nil {
		// Without data nothing is unpacked. A program is started even then if the backup has none.
		r.TargetUntouched = r.TargetUntouched && kept.bytes == 0 && c.Stream == nil
		return r, loadFailure(err)
	}
	return r, nil
}

// unpacker returns the loader of the component's program, which starts in the directory. It is a process of another
// container, where a descriptor of the mover means nothing: it gets the path at which that container has the volume,
// too. A link that somebody puts there meanwhile leads to nothing but what that container has.
func (m *Mover) unpacker(ctx context.Context, c task.Component) *loadStream {
	l := m.loader(ctx, c.Stream)
	l.dir = filepath.Join(m.volume(c.Name), c.Path)
	return l
}

// unpackBy lets the component's program make the files, and returns their number. The program starts when the first
// data arrives.
func (m *Mover) unpackBy(
	ctx context.Context, engine repository.Engine, c task.Component, root *os.Root, kept *countingWriter,
) (files int64, err error) {
	l := m.unpacker(ctx, c)
	defer l.close()
	l.begin = func() error { return m.clear(root) }
	if err := m.feed(ctx, engine, c, l, kept); err != nil {
		return 0, err
	}
	if err := l.finish(); err != nil {
		return 0, err
	}
	err = fs.WalkDir(root.FS(), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files++
		}
		return err
	})
	if err == nil && files == 0 {
		return 0, failure.New(v1alpha1.ReasonLoadFailed, "the program made no files from the component")
	}
	return files, unpack.Unwritable(err)
}

// clear removes what an earlier attempt left, or what the user confirmed to replace.
func (m *Mover) clear(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return unpack.Unwritable(err)
	}
	defer func() { _ = f.Close() }()
	return unpack.Unwritable(unpack.ClearVolumeDir(root, f))
}
