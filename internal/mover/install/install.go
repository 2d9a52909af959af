// Package install copies the static mover to where the container of a database's image finds it.
package install

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// installedMover is the name of the file that Install writes.
const installedMover = "mover"

// Install copies this program into a directory, as "mover". Every user can run it there. Install replaces an existing
// file atomically.
func Install(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return copyFile(self, filepath.Join(dir, installedMover), 0o755)
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("open the file to install: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(to), ".install-*")
	if err != nil {
		return fmt.Errorf("write to the directory: %w", err)
	}
	defer func() { _ = os.Remove(out.Name()) }()
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(mode), out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(to), err)
	}
	if err := os.Rename(out.Name(), to); err != nil {
		return fmt.Errorf("put %s in place: %w", filepath.Base(to), err)
	}
	return nil
}
