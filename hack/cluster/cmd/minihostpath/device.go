package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
)

// publishDevice bind-mounts the device of a block volume on the file target.
// Pods that share a volume share its device. That a pod may only read is no
// matter of the device: the container runtime sees to it.
func (d *driver) publishDevice(id, target string) (*csi.NodePublishVolumeResponse, error) {
	d.devices.Lock()
	defer d.devices.Unlock()
	device, err := loop.Attach(d.volumes.device(id))
	if err != nil {
		return nil, internal(err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return nil, internal(err)
	}
	f, err := os.OpenFile(target, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, internal(err)
	}
	if err := f.Close(); err != nil {
		return nil, internal(err)
	}
	if mounted, err := sameFile(device, target); err != nil {
		return nil, internal(err)
	} else if mounted {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := unix.Mount(device, target, "", unix.MS_BIND, ""); err != nil {
		return nil, internal(errors.Join(err, os.Remove(target)))
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// unusedDevice frees the device of a volume, if that has one and it is nowhere
// published any more.
func (d *driver) unusedDevice(id string) error {
	if vol, err := d.volumes.get(id); err != nil || !vol.Block {
		return nil // a volume that is gone has no device: see DeleteVolume
	}
	d.devices.Lock()
	defer d.devices.Unlock()
	devices, err := loop.Devices(d.volumes.device(id))
	if err != nil || len(devices) == 0 {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		for _, device := range devices {
			if len(fields) > 4 && fields[3] == "/"+filepath.Base(device) { // what of /dev is mounted
				return nil
			}
		}
	}
	return loop.Release(d.volumes.device(id))
}

// releaseDevice frees the device of a volume that is to be deleted.
func (d *driver) releaseDevice(id string) error {
	if vol, err := d.volumes.get(id); err != nil || !vol.Block {
		return nil
	}
	d.devices.Lock()
	defer d.devices.Unlock()
	return loop.Release(d.volumes.device(id))
}
