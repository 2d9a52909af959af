package mover

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// unpackable says what of a task can't be done to an archive that is unpacked.
func unpackable(t task.Task, flags Flags) *failure {
	if flags.Unpack == "" {
		return nil
	}
	rules := rulesOf(t)
	wrong := ""
	switch {
	case !filepath.IsLocal(flags.Unpack) || below(flags.Unpack) == "":
		wrong = "an archive is unpacked into a directory inside the volume, such as pgdata"
	case slices.ContainsFunc(t.Components, func(c task.Component) bool { return c.Stream != nil }):
		wrong = "what a program reads can't be unpacked"
	case len(flags.Include)+len(flags.Exclude) > 0:
		wrong = "an archive is unpacked as a whole: include and exclude are not possible"
	case rules.Verify:
		wrong = "an archive that is unpacked can't be verified"
	case rules.Overwrite != "" && rules.Overwrite != v1alpha1.OverwriteAlways:
		wrong = "an archive is unpacked as a whole: overwritePolicy can only be Overwrite"
	default:
		return nil
	}
	return &failure{v1alpha1.ReasonInvalidTask, wrong}
}

// rulesOf a restore; a task that says nothing has the strictest.
func rulesOf(t task.Task) task.Restore {
	if t.Restore == nil {
		return task.Restore{}
	}
	return *t.Restore
}

// restoreArchive unpacks the tar archive that a program wrote into a directory of the component's volume. The directory must be
// empty, for files of two databases in one make none: one that is not is emptied where deleteExtraFiles was confirmed, and where
// it holds what an attempt before left.
func (m *Mover) restoreArchive(ctx context.Context, t task.Task, flags Flags, engine repository.Engine, c task.Component, began time.Time) (task.ComponentResult, *failure) {
	c.Path = path.Join(c.Path, flags.Unpack)
	r, rules := task.ComponentResult{Name: c.Name, Path: c.Path, ID: c.ID}, rulesOf(t)
	dir, volumeEmpty, f := m.target(c, rules)
	if f != nil {
		r.TargetEmpty = volumeEmpty && !rules.Group
		return r, f
	}
	defer dir.Close()
	empty, err := isEmpty(dir.File)
	if err != nil {
		return r, &failure{v1alpha1.ReasonTargetUnwritable, volumeUnwritable}
	}
	if replace := c.Resume || rules.DeleteExtra && rules.Overwrite != ""; !empty && !replace {
		return r, &failure{v1alpha1.ReasonVolumeNotEmpty,
			fmt.Sprintf("the directory %s of the volume is not empty: restore into another one, or set deleteExtraFiles beside confirm to have all that is in it replaced", c.Path)}
	}
	root, err := os.OpenRoot(dir.path())
	if err != nil {
		return r, &failure{v1alpha1.ReasonTargetUnwritable, volumeUnwritable}
	}
	defer root.Close()
	r.TargetWritten = empty || c.Resume
	report := restoring{m: m, t: t, c: c, began: began, last: began, written: r.TargetWritten}
	report.tell(ctx, nil)
	kept := &counted{progress: report.progress(ctx)}
	u := unpacker{root: root, owners: m.Privileged}
	err = through(ctx, engine, c.ID, kept, u.unpack)
	if err == nil {
		err = unwritable(unix.Syncfs(int(dir.Fd())))
	}
	r.Files, r.SizeBytes, r.OwnersNotRestored = u.files, kept.bytes, u.foreign
	if err != nil {
		return r, classifyMove(err)
	}
	return r, nil
}
