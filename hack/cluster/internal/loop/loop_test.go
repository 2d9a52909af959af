package loop

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestAFileIsOneDevice(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	g.Expect(os.WriteFile(file, make([]byte, 1<<20), 0o600)).To(Succeed())
	device, err := Attach(file)
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	g.Expect(Attach(file)).To(Equal(device), "again")
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.WriteString("written")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Sync()).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
	b, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(b)).To(HavePrefix("written"))

	g.Expect(Below(dir)).To(ConsistOf(device))
	g.Expect(ReleaseBelow(dir + "-else")).To(Succeed())
	g.Expect(Devices(file)).To(ConsistOf(device), "it is of another directory")
	g.Expect(ReleaseBelow(dir)).To(Succeed())
	g.Expect(Devices(file)).To(BeEmpty())
}

// TestADeviceOutlivesItsFile is what a kill between making the device and mounting it leaves.
func TestADeviceOutlivesItsFile(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(file, make([]byte, 1<<20), 0o600)).To(Succeed())
	if _, err := Attach(file); err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	g.Expect(os.Remove(file)).To(Succeed())
	g.Expect(Devices(file)).To(HaveLen(1))
	g.Expect(Release(file)).To(Succeed())
	g.Expect(Devices(file)).To(BeEmpty())
}

func TestADeviceInUseIsSaid(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(file, make([]byte, 1<<20), 0o600)).To(Succeed())
	device, err := Attach(file)
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	f, err := os.Open(device)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(Release(file)).To(MatchError(ContainSubstring("still in use")))
	g.Expect(f.Close()).To(Succeed())
	g.Expect(Release(file)).To(Succeed())
	g.Expect(Devices(file)).To(BeEmpty())
}
