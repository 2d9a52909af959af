// Package loop makes block devices of files.
//
// It needs root, a kernel with loop devices, and losetup of the Debian package
// mount.
package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Attach returns a device whose content is in the file: one that it has
// already, or a new one. Two devices of one file would not see what is written
// to the other.
func Attach(file string) (string, error) {
	have, err := Devices(file)
	if err != nil {
		return "", err
	}
	if len(have) > 0 {
		return have[0], nil
	}
	return losetup("--find", "--show", file)
}

// Devices lists the devices whose content is in the file, also if that is
// deleted.
func Devices(file string) ([]string, error) {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(file)); err == nil { // as the kernel knows it
		file = filepath.Join(dir, filepath.Base(file))
	}
	return devices(func(f string) bool { return f == file })
}

// Below lists the devices whose content is in files below the directory.
func Below(dir string) ([]string, error) {
	if d, err := filepath.EvalSymlinks(dir); err == nil {
		dir = d
	}
	return devices(func(f string) bool { return strings.HasPrefix(f, dir+"/") })
}

func devices(of func(file string) bool) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
			continue // freed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("look for loop devices: %w", err)
		}
		if of(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), " (deleted)")) {
			out = append(out, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(f))))
		}
	}
	return out, nil
}

// Release frees the devices of a file. It is an error if something still uses
// one.
func Release(file string) error {
	return release(file, func() ([]string, error) { return Devices(file) })
}

// ReleaseBelow frees the devices of all files below a directory.
func ReleaseBelow(dir string) error {
	return release(dir, func() ([]string, error) { return Below(dir) })
}

func release(what string, list func() ([]string, error)) error {
	for deadline := time.Now().Add(releaseTimeout); ; time.Sleep(50 * time.Millisecond) {
		devices, err := list()
		if err != nil || len(devices) == 0 {
			return err
		}
		var errs []error
		for _, d := range devices {
			if _, err := losetup("--detach", d); err != nil { // it fails if a last user has just freed it
				errs = append(errs, err)
			}
		}
		if time.Now().After(deadline) {
			return errors.Join(append(errs,
				fmt.Errorf("free the loop devices of %s: %s still in use", what, strings.Join(devices, ", ")))...)
		}
	}
}

const releaseTimeout = 5 * time.Second

func losetup(args ...string) (string, error) {
	cmd := exec.Command("losetup", args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run losetup %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errOut.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}
