package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
)

const mebi = 1 << 20

func newDriver(t *testing.T, dir string, subvolumes bool) *driver {
	d := &driver{node: "node", volumes: newStore(filepath.Join(dir, "volumes"),
		subvolumes), snapshots: newStore(filepath.Join(dir, "snapshots"), subvolumes)}
	g := NewWithT(t)
	g.Expect(d.volumes.init()).To(Succeed())
	g.Expect(d.snapshots.init()).To(Succeed())
	return d
}

var (
	asDevice = &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
	}
	asFileSystem = &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
)

// volume makes a volume, from a snapshot unless that is "".
func volume(
	t *testing.T, d *driver, name string, as *csi.VolumeCapability, size int64, snapshot string,
) (*csi.Volume, error) {
	req := &csi.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*csi.VolumeCapability{as},
		CapacityRange: &csi.CapacityRange{RequiredBytes: size},
	}
	if snapshot != "" {
		req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot},
		}}
	}
	resp, err := d.CreateVolume(t.Context(), req)
	return resp.GetVolume(), err
}

func TestTheDeviceOfABlockVolume(t *testing.T) {
	onEveryFileSystem(t, func(t *testing.T, dir string, subvolumes bool) {
		g := NewWithT(t)
		d, pods := newDriver(t, dir, subvolumes), t.TempDir()
		source, err := volume(t, d, "source", asDevice, mebi-1, "")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(source.CapacityBytes).To(BeEquivalentTo(mebi), "whole sectors")
		publish := func(v *csi.Volume, pod string) string {
			target := filepath.Join(pods, pod, "device")
			for range 2 { // the kubelet asks again
				_, err := d.NodePublishVolume(t.Context(),
					&csi.NodePublishVolumeRequest{VolumeId: v.VolumeId, TargetPath: target, VolumeCapability: asDevice})
				if status.Code(err) == codes.Internal {
					t.Skipf("no loop devices here: %v", err)
				}
				g.Expect(err).NotTo(HaveOccurred())
			}
			var st unix.Stat_t
			g.Expect(unix.Stat(target, &st)).To(Succeed())
			g.Expect(st.Mode&unix.S_IFMT).To(BeEquivalentTo(unix.S_IFBLK), "a block device")
			return target
		}
		unpublish := func(v *csi.Volume, target string) {
			for range 2 {
				_, err := d.NodeUnpublishVolume(t.Context(),
					&csi.NodeUnpublishVolumeRequest{VolumeId: v.VolumeId, TargetPath: target})
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(target).NotTo(BeAnExistingFile())
		}
		one, two := publish(source, "one"), publish(source, "two")
		writeDevice(t, one, "before")
		g.Expect(readDevice(t, two, 6)).To(Equal("before"), "pods share one device")
		unpublish(source, one)
		g.Expect(loop.Devices(d.volumes.device(source.VolumeId))).To(HaveLen(1), "the other pod has it")

		snap, err := d.CreateSnapshot(t.Context(),
			&csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: source.VolumeId})
		g.Expect(err).NotTo(HaveOccurred())
		writeDevice(t, two, "after!")
		unpublish(source, two)
		g.Expect(loop.Below(dir)).To(BeEmpty())

		_, err = volume(t, d, "files", asFileSystem, 2*mebi, snap.Snapshot.SnapshotId)
		g.Expect(status.Code(err)).To(Equal(codes.InvalidArgument), "a device is no file system")
		restored, err := volume(t, d, "restored", asDevice, 2*mebi, snap.Snapshot.SnapshotId)
		g.Expect(err).NotTo(HaveOccurred())
		target := publish(restored, "three")
		g.Expect(readDevice(t, target, 6)).To(Equal("before"))
		g.Expect(readDevice(t, target, 2*mebi)).To(HaveLen(2*mebi), "larger than its source")
		unpublish(restored, target)
		for _, v := range []*csi.Volume{source, restored} {
			_, err := d.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: v.VolumeId})
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect(loop.Below(dir)).To(BeEmpty())
	})
}

func writeDevice(t *testing.T, path, text string) {
	t.Helper()
	g := NewWithT(t)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.WriteString(text)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Sync()).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
}

func readDevice(t *testing.T, path string, n int) string {
	t.Helper()
	g := NewWithT(t)
	b, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(b)).To(BeNumerically(">=", n))
	return string(b[:n])
}

func TestAVolumeIsAFileSystemOrADevice(t *testing.T) {
	g := NewWithT(t)
	d := newDriver(t, t.TempDir(), false)
	files, err := volume(t, d, "v", asFileSystem, mebi, "")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = volume(t, d, "v", asDevice, mebi, "")
	g.Expect(status.Code(err)).To(Equal(codes.AlreadyExists))
	_, err = d.NodePublishVolume(t.Context(),
		&csi.NodePublishVolumeRequest{
			VolumeId: files.VolumeId, TargetPath: filepath.Join(t.TempDir(), "x"), VolumeCapability: asDevice,
		})
	g.Expect(status.Code(err)).To(Equal(codes.InvalidArgument))
	_, err = d.CreateVolume(t.Context(),
		&csi.CreateVolumeRequest{Name: "both", VolumeCapabilities: []*csi.VolumeCapability{asDevice, asFileSystem}})
	g.Expect(status.Code(err)).To(Equal(codes.InvalidArgument))
	resp, err := d.ValidateVolumeCapabilities(t.Context(),
		&csi.ValidateVolumeCapabilitiesRequest{
			VolumeId: files.VolumeId, VolumeCapabilities: []*csi.VolumeCapability{asDevice},
		})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(resp.Confirmed).To(BeNil())
}
