package cluster

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
)

func TestVolumesOfAnOlderClusterStayDirectories(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	g.Expect(os.MkdirAll(c.path("csi-data", "volumes", "vol-1"), 0o755)).To(Succeed())
	g.Expect(c.mountVolumes()).To(Succeed())
	g.Expect(c.copies).To(ContainSubstring("plain directories"))
	g.Expect(c.volumesImage()).NotTo(BeAnExistingFile())
	g.Expect(c.addonsManifest()).To(ContainSubstring("cairn.local/snapshots: copies"))
}

func TestVolumesThatCannotBeMountedAreNotHidden(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	g.Expect(os.WriteFile(c.volumesImage(), make([]byte, 1<<20), 0o600)).To(Succeed())
	g.Expect(c.mountVolumes()).To(MatchError(ContainSubstring("down --purge")))
	g.Expect(loop.Release(c.volumesImage())).To(Succeed())
}

func TestAMachineWithoutBtrfsMakesCopies(t *testing.T) {
	g := NewWithT(t)
	c := in(t.TempDir())
	t.Setenv("PATH", t.TempDir())
	g.Expect(c.mountVolumes()).To(Succeed())
	g.Expect(c.copies).To(And(ContainSubstring("mkfs.btrfs"), Not(ContainSubstring("\n"))))
	g.Expect(os.ReadDir(c.State)).To(HaveLen(1), "the directory of volumes alone")
	g.Expect(New().addonsManifest()).To(ContainSubstring("cairn.local/snapshots: point-in-time"))
}
