package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/task"
)

// mount makes a directory the volume of a component.
func (p *pod) mount(component, dir string) {
	p.t.Helper()
	g := NewWithT(p.t)
	mount := filepath.Join(p.root, "cairn/volumes", component)
	g.Expect(os.MkdirAll(filepath.Dir(mount), 0o755)).To(Succeed())
	g.Expect(os.RemoveAll(mount)).To(Succeed())
	g.Expect(os.Symlink(dir, mount)).To(Succeed())
}

// restores restores the data of an id into a directory and returns the result.
func (p *pod) restores(id, dir string, flags mover.Flags) task.ComponentResult {
	p.t.Helper()
	g := NewWithT(p.t)
	p.mount("new", dir)
	t := restoreTask(id)
	text, err := task.Encode(t)
	g.Expect(err).NotTo(HaveOccurred())
	p.write("cairn/task/task.json", text)
	g.Expect(p.mover.Run(p.t.Context(), t.Kind, flags)).To(BeZero(), p.log.String())
	message, err := os.ReadFile(p.mover.TerminationPath)
	g.Expect(err).NotTo(HaveOccurred())
	result, err := task.DecodeResult(string(message))
	g.Expect(err).NotTo(HaveOccurred())
	return result.Components[0]
}

// TestARestoredVolumeEqualsTheOriginal: 10,000 hard links, holes, extended attributes, ACLs, capabilities, special
// mode bits, FIFOs and devices, names that are not UTF-8 or have 255 bytes, paths longer than the kernel accepts at
// once, times before 1970 and with nanoseconds. Root and another user each back up what they are able to make. rsync
// and tar find no difference.
func TestARestoredVolumeEqualsTheOriginal(t *testing.T) {
	enginetest.Needs(t, enginetest.Comparers...)
	t.Run("as root", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root: owners, devices and capabilities")
		}
		equalsTheOriginal(t)
	})
	t.Run("as another user", func(t *testing.T) {
		if os.Geteuid() == 0 {
			asNobody(t)
			return
		}
		equalsTheOriginal(t)
	})
}

func equalsTheOriginal(t *testing.T) {
	g := NewWithT(t)
	p := initialised(t)
	src := enginetest.OddTree(t)
	p.mount("pvc", src)
	var c task.ComponentResult
	for _, snapshot := range []string{"snap-1", "snap-2"} { // the second takes everything from the first
		code, result := p.run(t.Context(), backupTask(snapshot))
		g.Expect(code).To(BeZero(), result.Message)
		c = result.Components[0]
		g.Expect(c.HardLinks).To(BeNumerically(">=", 10_000))
		g.Expect(c.Special).To(BeNumerically(">=", 1))
		g.Expect(c.Unreadable + c.AttributesUnreadable + c.Changed + c.Vanished).To(BeZero())
	}
	out := t.TempDir()
	r := p.restores(c.ID, out, mover.Flags{SetID: true, Devices: true})
	g.Expect(r.OwnersNotRestored + r.AttributesNotRestored + r.DevicesNotRestored).To(BeZero())
	enginetest.Compare(t, src, out)
}

// TestOmittedPropertiesAreCounted: set-id bits, capabilities and devices are restored only on request.
func TestOmittedPropertiesAreCounted(t *testing.T) {
	enginetest.Needs(t, "setcap")
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices and capabilities")
	}
	g := NewWithT(t)
	p := initialised(t)
	file := func(name string) string {
		p.write("cairn/volumes/pvc/"+name, "1")
		return filepath.Join(p.volume(), name)
	}
	g.Expect(os.Chmod(file("setuid"), 0o755|os.ModeSetuid)).To(Succeed())
	enginetest.Program(t, "setcap", "cap_net_bind_service=+ep", file("capable"))
	for _, name := range []string{"null", "zero", "full"} {
		g.Expect(unix.Mknod(filepath.Join(p.volume(), name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))).To(Succeed())
	}
	c := p.backs("snap-1", nil, "")
	g.Expect(c.Special).To(Equal(int64(3)))
	r := p.restores(c.ID, t.TempDir(), mover.Flags{})
	g.Expect(r.AttributesNotRestored).To(Equal(int64(2)), "the set-user-ID bit and the capability")
	g.Expect(r.DevicesNotRestored).To(Equal(int64(3)))
	told := p.reports.restores["new"]
	g.Expect(told[len(told)-1].DevicesNotRestored).To(Equal(int64(3)), "the status says it")
	r = p.restores(c.ID, t.TempDir(), mover.Flags{SetID: true, Devices: true})
	g.Expect(r.AttributesNotRestored + r.DevicesNotRestored).To(BeZero())
}

// TestMissingAttributesAreReported restores into a file system that keeps neither extended attributes nor
// ACLs.
func TestMissingAttributesAreReported(t *testing.T) {
	enginetest.Needs(t, "setfattr", "setfacl")
	g := NewWithT(t)
	p := initialised(t)
	plain := t.TempDir()
	if err := unix.Mount("ramfs", plain, "ramfs", 0, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(plain, unix.MNT_DETACH) })
	p.write("cairn/volumes/pvc/a", "1")
	p.write("cairn/volumes/pvc/b", "1")
	p.write("cairn/volumes/pvc/c", "1")
	enginetest.Program(t, "setfattr", "-n", "user.note", "-v", "1", filepath.Join(p.volume(), "a"))
	enginetest.Program(t, "setfacl", "-m", "u:1234:r", filepath.Join(p.volume(), "b"))
	c := p.backs("snap-1", nil, "")
	r := p.restores(c.ID, plain, mover.Flags{})
	g.Expect(r.AttributesNotRestored).To(Equal(int64(2)))
	g.Expect(os.ReadFile(filepath.Join(plain, "a"))).To(Equal([]byte("1")), "the data is there")
}
