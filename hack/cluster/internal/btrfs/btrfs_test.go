package btrfs

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
)

// TestNothingIsLeft mounts, writes, and mounts again what was written.
func TestNothingIsLeft(t *testing.T) {
	g := NewWithT(t)
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	for range 2 {
		if err := Mount(image, dir, 1<<30); err != nil {
			t.Skipf("no btrfs here: %v", err)
		}
		g.Expect(Is(dir)).To(BeTrue())
		g.Expect(loop.Devices(image)).To(HaveLen(1))
		g.Expect(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)).To(Succeed())
		g.Expect(unix.Unmount(dir, 0)).To(Succeed())
		g.Expect(loop.Release(image)).To(Succeed())
		g.Expect(loop.Devices(image)).To(BeEmpty())
		g.Expect(filepath.Join(dir, "file")).NotTo(BeAnExistingFile())
	}
	g.Expect(Mount(image, dir, 0)).To(Succeed())
	g.Expect(filepath.Join(dir, "file")).To(BeAnExistingFile())
	g.Expect(unix.Unmount(dir, 0)).To(Succeed())
}

func TestWhatCannotBeMountedLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	g.Expect(Mount(image, filepath.Join(dir, "nowhere"), 1<<30)).NotTo(Succeed())
	g.Expect(loop.Devices(image)).To(BeEmpty())
	g.Expect(os.ReadDir(dir)).To(BeEmpty())

	g.Expect(Mount(image, dir, 1)).NotTo(Succeed(), "too small")
	g.Expect(os.ReadDir(dir)).To(BeEmpty())
}

func TestOtherFileSystemsAreNoBtrfs(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Is("/proc")).To(BeFalse())
	_, err := Is(filepath.Join(t.TempDir(), "none"))
	g.Expect(err).To(MatchError(os.ErrNotExist))
}
