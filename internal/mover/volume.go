package mover

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kubestash"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/mover/unpack"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// place is an open directory of a volume. The engine gets its descriptor, never a path: whoever is able to write to
// the volume could put a symbolic link into the path between check and use, and the mover's container holds
// credentials.
type place struct{ *os.File }

// path is valid as long as the place is open.
func (p place) path() string { return "/proc/self/fd/" + strconv.Itoa(int(p.Fd())) }

// mounts returns the paths under which users know the directory that a component is backed up from, or restored to.
func mounts(c task.Component) []repository.Mount {
	var out []repository.Mount
	for _, m := range c.Mounts {
		out = append(out, repository.Mount{Path: m.Path, Dir: judge.Below(m.SubPath)})
	}
	for _, p := range kubestash.VolumePaths {
		out = append(out, repository.Mount{Path: p})
	}
	below := judge.Below(c.Path)
	out = repository.MountsIn(out, below)
	if below != "" { // its path in the volume
		out = append(out, repository.Mount{Path: "/" + below})
	}
	return out
}

// copiedAt returns the time of the copy that a component is backed up from. It is zero if that is the volume itself.
func copiedAt(c task.Component) time.Time {
	if c.CopiedAt == nil {
		return time.Time{}
	}
	return c.CopiedAt.Time
}

// openPlace opens a directory of a volume. It follows symbolic links that stay in the volume.
func openPlace(volume, below string) (place, error) {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return place{}, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(cmp.Or(below, "."), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	return place{f}, err
}

// source returns the directory that a component backs up. It refuses a path that leaves the volume through a symbolic
// link. previous is the last backup of the component, nil if there is none.
func (m *Mover) source(
	c task.Component, policy *v1alpha1.SuccessPolicy, previous *repository.Snapshot,
) (place, *failure.Failure) {
	volume := m.volume(c.Name)
	if _, err := os.Stat(volume); err != nil {
		return place{}, failure.New(v1alpha1.ReasonUnreadable, "the volume is not mounted")
	}
	dir, err := openPlace(volume, judge.Below(c.Path))
	switch {
	case err == nil:
	case judge.Below(c.Path) == "":
		return place{}, failure.New(v1alpha1.ReasonUnreadable, volumeUnreadable)
	case errors.Is(err, fs.ErrNotExist):
		return place{}, failure.New(v1alpha1.ReasonPathNotFound,
			fmt.Sprintf("path %s does not exist in the volume: correct the parameter paths", c.Path))
	case errors.As(err, new(syscall.Errno)):
		return place{},
			failure.New(v1alpha1.ReasonUnreadable, fmt.Sprintf("path %s of the volume can't be read", c.Path))
	default: // the only error of package os without a type
		return place{}, failure.New(v1alpha1.ReasonInvalidPath, fmt.Sprintf("path %s leads out of the volume", c.Path))
	}
	empty, err := isEmpty(dir.File)
	switch {
	case err != nil:
		_ = dir.Close()
		return place{}, failure.New(v1alpha1.ReasonUnreadable, volumeUnreadable)
	case empty && !policy.AllowsEmpty():
		_ = dir.Close()
		return place{}, judge.EmptyFailure(policy, "there is nothing in the volume to back up",
			judge.NotEmpty(previous))
	}
	return dir, nil
}

const volumeUnreadable = "the volume can't be read: run as a user who is allowed to read it " +
	"(jobTemplate.spec.securityContext)"

// unwritable is the failure of a restore that can't write to its volume.
func unwritable(err error) *failure.Failure {
	return failure.New(v1alpha1.ReasonTargetUnwritable, "the volume can't be written to: "+failure.ToWrite(err))
}

// target returns the directory into which a component is restored, and whether its volume is empty. A volume that is
// not empty is written to only if the user confirmed it, or if an earlier attempt wrote its content. target creates
// the path in the volume, and notes that in r.
func (m *Mover) target(c task.Component, rules task.Restore, r *task.ComponentResult) (place, bool, *failure.Failure) {
	volume := m.volume(c.Name)
	top, err := openPlace(volume, "")
	if err != nil {
		return place{}, false, failure.New(v1alpha1.ReasonTargetUnwritable, "the volume can't be read")
	}
	empty, err := isEmpty(top.File)
	switch {
	case err != nil:
		_ = top.Close()
		return place{}, false, failure.New(v1alpha1.ReasonTargetUnwritable, "the volume can't be read")
	case !empty && rules.Overwrite == "" && !c.Resume:
		_ = top.Close()
		return place{}, false,
			failure.New(v1alpha1.ReasonVolumeNotEmpty, "the volume is not empty: restore into an empty one")
	}
	if err := syscall.Access(top.path(), accessWrite); err != nil {
		_ = top.Close()
		return place{}, empty, unwritable(err)
	}
	if judge.Below(c.Path) == "" {
		return top, empty, nil
	}
	defer func() { _ = top.Close() }()
	dir, made, err := createVolumeDir(top.path(), judge.Below(c.Path))
	r.TargetUntouched = r.TargetUntouched && !made
	if err != nil {
		return place{}, empty, failure.New(v1alpha1.ReasonTargetUnwritable,
			fmt.Sprintf("path %s can't be created in the volume: %s", c.Path, failure.ToWrite(err)))
	}
	return dir, empty, nil
}

// accessWrite is W_OK and X_OK of access(2).
const accessWrite = 2 | 1

// createVolumeDir opens a directory of a volume. If there is none, it makes it, or a part of its path: made.
func createVolumeDir(volume, below string) (dir place, made bool, err error) {
	dir, err = openPlace(volume, below)
	if !errors.Is(err, fs.ErrNotExist) {
		return dir, false, err
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return place{}, false, err
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(below, 0o755); err != nil {
		return place{}, true, err
	}
	dir, err = openPlace(volume, below)
	return dir, true, err
}

// leftEmpty reports whether the volume of a component that was not restored holds nothing.
func (m *Mover) leftEmpty(c task.Component) bool {
	top, err := openPlace(m.volume(c.Name), "")
	if err != nil {
		return false
	}
	defer func() { _ = top.Close() }()
	empty, err := isEmpty(top.File)
	return empty && err == nil
}

// isEmpty reports whether a directory holds nothing except lost+found and what an unfinished restore left.
func isEmpty(f *os.File) (bool, error) {
	for {
		names, err := f.Readdirnames(2)
		for _, name := range names {
			if name != unpack.LostAndFound && !repository.IsOfARestore(name) {
				return false, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}
