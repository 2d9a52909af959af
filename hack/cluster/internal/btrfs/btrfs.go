// Package btrfs keeps volumes as subvolumes of a btrfs file system in a file.
// Its snapshots are points in time, which copies of directories are not.
//
// It needs root, a kernel with btrfs and loop devices, and the programs of the
// Debian packages btrfs-progs and mount.
package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
)

// Is reports whether a directory is on a btrfs file system.
func Is(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("ask what file system %s is on: %w", dir, err)
	}
	return int64(st.Type) == unix.BTRFS_SUPER_MAGIC, nil
}

// Create makes an empty subvolume. Its directory must not exist.
func Create(dir string) error { return run("btrfs", "subvolume", "create", dir) }

// Snapshot makes a subvolume with what another one holds at this moment. It can
// be written, and removed like any directory.
func Snapshot(from, dir string) error { return run("btrfs", "subvolume", "snapshot", from, dir) }

// Mount mounts the file system in the file image on the directory dir. An image
// that does not exist is made first, with size bytes, which take no room before
// they are written; if it cannot be mounted, it is removed again.
func Mount(image, dir string, size int64) error {
	_, err := os.Stat(image)
	if err == nil {
		return mount(image, dir)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeImage(image, size); err != nil {
		return err
	}
	if err := mount(image, dir); err != nil {
		return errors.Join(err, loop.Release(image), os.Remove(image))
	}
	return nil
}

// makeImage makes an image that appears when it is whole.
func makeImage(image string, size int64) error {
	unfinished := image + ".new"
	f, err := os.Create(unfinished)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	// A second copy of the metadata helps nobody whose file is lost.
	if err := run("mkfs.btrfs", "--quiet", "--metadata", "single", "--nodiscard", unfinished); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	return os.Rename(unfinished, image)
}

// mount does not wait for the disk (nobarrier): a test cluster's data need not
// survive a power cut. The loop device goes with the mount.
func mount(image, dir string) error {
	return run("mount", "-t", "btrfs", "-o", "loop,noatime,nobarrier,discard=async", image, dir)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
