package mover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// lostAndFound is what some file systems have in a volume from the start.
const lostAndFound = "lost+found"

// source is the directory that a component backs up. A path that leaves the volume through a symbolic link is refused: the
// mover's container holds credentials.
func (m *Mover) source(c task.Component) (string, *failure) {
	volume := m.path(path.Join(task.VolumesDir, c.Name))
	dir, err := filepath.EvalSymlinks(volume)
	if err != nil {
		return "", &failure{v1alpha1.ReasonUnreadable, "the volume is not mounted"}
	}
	if c.Path != "" {
		below, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.Clean("/"+c.Path)))
		if errors.Is(err, os.ErrNotExist) {
			return "", &failure{v1alpha1.ReasonEmpty, fmt.Sprintf("path %s is not in the volume", c.Path)}
		}
		if err != nil {
			return "", &failure{v1alpha1.ReasonUnreadable, fmt.Sprintf("path %s of the volume can't be read", c.Path)}
		}
		if !strings.HasPrefix(below+"/", strings.TrimSuffix(dir, "/")+"/") {
			return "", &failure{v1alpha1.ReasonInvalidPath, fmt.Sprintf("path %s leads out of the volume", c.Path)}
		}
		dir = below
	}
	empty, err := isEmpty(dir)
	switch {
	case err != nil:
		return "", &failure{v1alpha1.ReasonUnreadable, "the volume can't be read: run as a user who may read it (jobTemplate.spec.securityContext)"}
	case empty:
		return "", &failure{v1alpha1.ReasonEmpty, "there is nothing in the volume to back up"}
	}
	return dir, nil
}

// target is the directory that a component is restored to. The volume must be empty; the path in it is made.
func (m *Mover) target(c task.Component) (string, *failure) {
	volume := m.path(path.Join(task.VolumesDir, c.Name))
	empty, err := isEmpty(volume)
	switch {
	case err != nil:
		return "", &failure{v1alpha1.ReasonTargetUnwritable, "the volume can't be read"}
	case !empty:
		return "", &failure{v1alpha1.ReasonVolumeNotEmpty, "the volume is not empty: restore into an empty one"}
	}
	below := strings.TrimPrefix(path.Clean("/"+c.Path), "/")
	if below == "" {
		return volume, nil
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", &failure{v1alpha1.ReasonTargetUnwritable, "the volume can't be opened"}
	}
	defer root.Close()
	if err := root.MkdirAll(below, 0o755); err != nil {
		return "", &failure{v1alpha1.ReasonTargetUnwritable, fmt.Sprintf("path %s can't be made in the volume: run as a user who may write to it (jobTemplate.spec.securityContext)", c.Path)}
	}
	return filepath.Join(volume, below), nil
}

// isEmpty says whether a directory holds nothing but lost+found.
func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(2)
		for _, name := range names {
			if name != lostAndFound {
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
