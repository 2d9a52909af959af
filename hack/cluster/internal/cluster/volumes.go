package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/hack/cluster/internal/btrfs"
	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
)

// volumesSize is the size of the volumes' file system. It takes room on the machine only where it is written.
const volumesSize = 64 << 30

func (c *Cluster) volumesDir() string { return c.path("csi-data") }

func (c *Cluster) volumesImage() string { return c.path("csi-data.img") }

// mountVolumes gives the CSI driver a file system with snapshots. Where that
// cannot be, c.copies says why, and the driver copies directories. Volumes of an
// earlier run stay what they were.
func (c *Cluster) mountVolumes() error {
	if err := os.MkdirAll(c.volumesDir(), 0o755); err != nil {
		return fmt.Errorf("make the directory of volumes: %w", err)
	}
	_, err := os.Stat(c.volumesImage())
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		directories, err := filepath.Glob(filepath.Join(c.volumesDir(), "*", "*"))
		if err != nil {
			return fmt.Errorf("look for volumes of an earlier run: %w", err)
		}
		if len(directories) > 0 {
			c.copies = "volumes of an earlier run are plain directories (clusterctl down --purge deletes them)"
			return nil
		}
	}
	err = btrfs.Mount(c.volumesImage(), c.volumesDir(), volumesSize)
	if err != nil && !isNew {
		return fmt.Errorf("mount the volumes of an earlier run (clusterctl down --purge deletes them): %w", err)
	}
	if err != nil {
		c.copies = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return nil
}

// releaseDevices frees the loop devices of block volumes: the kubelet's first,
// because each of them holds a device of the driver open. A device that is left
// would keep the volumes' file system busy.
func (c *Cluster) releaseDevices() error {
	return errors.Join(loop.ReleaseBelow(c.path("kubelet")), loop.ReleaseBelow(c.volumesDir()))
}
