package kopia_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

var everything = repository.RestoreOptions{Owners: true, SetID: true, Devices: true}

// TestFidelity restores a tree with everything that kopia drops, and compares it with independent tools: rsync
// -aHAX and tar --xattrs --acls. It needs root, setfacl, setfattr, setcap and rsync.
func TestFidelity(t *testing.T) {
	t.Parallel()
	needs(t, enginetest.Comparers...)
	g, ctx := NewWithT(t), t.Context()
	src := enginetest.OddTree(t)
	e := enginetest.Open(t, kopia.WithoutWaiting(kopia.Driver{}), initialized(t))
	backup := func() repository.Snapshot {
		t.Helper()
		s, err := e.Backup(ctx, repository.Source{Name: "v", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		return s
	}
	same := func(s repository.Snapshot) {
		t.Helper()
		out := t.TempDir()
		res, err := e.Restore(ctx, s.ID, out, everything)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Problems).To(BeEmpty())
		enginetest.Compare(t, src, out)
	}
	first := backup()
	second := backup() // takes everything from the first one
	g.Expect(second.Attributes).To(And(BeNumerically(">", 10), Equal(first.Attributes)))
	same(second)

	// Only an attribute changes. kopia sees no change of the file, but the next snapshot must have the new value.
	enginetest.Program(t, "setfattr", "-n", "user.note", "-v", "changed", filepath.Join(src, "xattr"))
	last := backup()
	same(last)

	// The attribute files survive a garbage collection, and are deleted with their snapshots.
	g.Expect(e.Delete(ctx, first.ID, second.ID)).To(Succeed())
	g.Expect(e.Maintain(ctx, repository.MaintainOptions{Full: true})).To(Succeed())
	same(last)

	// Set-id bits and devices come back only where they are asked for. The result counts the ones left out.
	out := t.TempDir()
	res, err := e.Restore(ctx, last.ID, out, repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	dangerous, err := exec.CommandContext(ctx, "find", out, "-perm", "/6000", "-type", "f", "-o", "-type", "c", "-o",
		"-type", "b").Output()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(dangerous)).To(BeEmpty())
	g.Expect(res.OwnersNotRestored).To(BeNumerically(">=", 7))
	g.Expect(res.ModesNotRestored).To(BeEquivalentTo(4))
	g.Expect(res.AttributesNotRestored).To(BeEquivalentTo(1), "one capability: %v", res.Problems)
	g.Expect(res.DevicesNotRestored).To(BeEquivalentTo(2))
	g.Expect(len(res.Problems)).To(BeNumerically(">=", 7))
}

// TestEscape restores over a target in which directories were replaced by symbolic links to elsewhere.
func TestEscape(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	enginetest.Tree(t, src, 250)
	NewWithT(t).Expect(os.Link(filepath.Join(src, "dir0/file1"), filepath.Join(src, "dir1/linked"))).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "v", Dir: src}, repository.BackupOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, conflict := range map[string]repository.Conflict{
		"fail": repository.ConflictFail, "skip": repository.ConflictSkip, "replace": repository.ConflictReplace,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, outside := t.TempDir(), t.TempDir()
			precious := filepath.Join(outside, "precious")
			g.Expect(os.WriteFile(precious, []byte("precious"), 0o644)).To(Succeed())
			g.Expect(os.Symlink(outside, filepath.Join(out, "dir1"))).To(Succeed())
			g.Expect(os.Mkdir(filepath.Join(out, "dir0"), 0o755)).To(Succeed())
			g.Expect(os.Symlink(precious, filepath.Join(out, "dir0/file2"))).To(Succeed())
			_, err := e.Restore(t.Context(), s.ID, out, repository.RestoreOptions{OnConflict: conflict})
			g.Expect(os.ReadDir(outside)).To(HaveLen(1), "wrote outside")
			g.Expect(os.ReadFile(precious)).To(BeEquivalentTo("precious"), "overwrote a file outside")
			if conflict != repository.ConflictReplace {
				g.Expect(err).To(HaveOccurred())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			enginetest.Same(t, src, out)
		})
	}
}

// TestIfNewerKeepsWhatIsWrittenMeanwhile checks a file that an application writes while the restored one waits for the
// disk, and so for its name.
func TestIfNewerKeepsWhatIsWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	g, ctx, src, out := NewWithT(t), t.Context(), t.TempDir(), t.TempDir()
	put := func(dir, text string, at time.Time) {
		file := filepath.Join(dir, "orders")
		g.Expect(os.WriteFile(file, []byte(text), 0o644)).To(Succeed())
		g.Expect(os.Chtimes(file, at, at)).To(Succeed())
	}
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	put(src, "of the backup", old.AddDate(1, 0, 0))
	d := kopia.WithDisk(kopia.Driver{}, func() error {
		if b, _ := os.ReadFile(filepath.Join(out, "orders")); string(b) == "older" {
			put(out, "of the application", time.Now())
		}
		return nil
	})
	e := enginetest.Open(t, d, initialized(t))
	s, err := e.Backup(ctx, repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	put(out, "older", old)
	res, err := e.Restore(ctx, s.ID, out, repository.RestoreOptions{OnConflict: repository.ConflictNewer})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadFile(filepath.Join(out, "orders"))).To(BeEquivalentTo("of the application"))
	g.Expect(os.ReadDir(out)).To(HaveLen(1), "nothing unfinished is left")
	g.Expect(res.Overwritten).To(BeZero())
	g.Expect(res.Skipped).To(BeEquivalentTo(1))
}

func needs(t testing.TB, programs ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: owners, devices and capabilities")
	}
	enginetest.Needs(t, programs...)
}

// aclFor returns an ACL that lets user 1234 do all, as the kernel holds it.
func aclFor() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, ^uint32(0)}, {2, 7, 1234}, {4, 7, ^uint32(0)}, {0x10, 7, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// TestARestoredFileInheritsNoACL checks a volume to whose directory somebody gave a default ACL after the backup. What
// a restore writes must have the rights that the backup has.
func TestARestoredFileInheritsNoACL(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		dir string
		opt repository.RestoreOptions
	}{
		"in the root":               {opt: repository.RestoreOptions{OnConflict: repository.ConflictReplace}},
		"in a directory":            {"dir", repository.RestoreOptions{OnConflict: repository.ConflictReplace}},
		"in a root that stays":      {opt: repository.RestoreOptions{OnConflict: repository.ConflictSkip}},
		"in a directory that stays": {"dir", repository.RestoreOptions{OnConflict: repository.ConflictSkip}},
		"that is chosen": {"dir", repository.RestoreOptions{
			OnConflict: repository.ConflictReplace, Include: []string{"dir/secret", "dir/below/secret"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
			files := []string{filepath.Join(tc.dir, "secret"), filepath.Join(tc.dir, "below", "secret")}
			for _, f := range files {
				g.Expect(os.MkdirAll(filepath.Join(src, filepath.Dir(f)), 0o750)).To(Succeed())
				g.Expect(os.WriteFile(filepath.Join(src, f), []byte("text"), 0o660)).To(Succeed())
				g.Expect(os.Chmod(filepath.Join(src, f), 0o660)).To(Succeed())
			}
			g.Expect(os.MkdirAll(filepath.Join(out, tc.dir), 0o750)).To(Succeed())
			err := unix.Setxattr(filepath.Join(out, tc.dir), "system.posix_acl_default", aclFor(), 0)
			if err == unix.ENOTSUP {
				t.Skip("this file system has no ACLs")
			}
			g.Expect(err).NotTo(HaveOccurred())
			e := enginetest.Open(t, kopia.Driver{}, initialized(t))
			s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			tc.opt.Owners = os.Getuid() == 0
			res, err := e.Restore(t.Context(), s.ID, out, tc.opt)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.AttributesNotRestored).To(BeZero())
			for f, acls := range map[string][]string{
				files[0]: {"access"}, files[1]: {"access"}, filepath.Dir(files[1]): {"access", "default"},
			} {
				for _, acl := range acls {
					acl = "system.posix_acl_" + acl
					n, err := unix.Getxattr(filepath.Join(out, f), acl, make([]byte, 1024))
					g.Expect(err).To(Equal(unix.ENODATA), "%s has %s of %d bytes", f, acl, n)
				}
			}
		})
	}
}

// TestADirectoryKeepsNoAttributesThatTheSnapshotLacks checks directories that got an ACL and an attribute after the
// backup. An ACL can take the group's rights away.
func TestADirectoryKeepsNoAttributesThatTheSnapshotLacks(t *testing.T) {
	t.Parallel()
	const attribute, shared = "user.attribute", "user.shared"
	for name, tc := range map[string]struct {
		conflict repository.Conflict
		keeps    bool
	}{
		"that is restored": {conflict: repository.ConflictReplace},
		"that stays":       {conflict: repository.ConflictSkip, keeps: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
			for _, dir := range []string{src, out} {
				for _, d := range []string{dir, filepath.Join(dir, "data")} {
					g.Expect(os.MkdirAll(d, 0o750)).To(Succeed())
					g.Expect(os.Chmod(d, 0o750)).To(Succeed())
					if unix.Setxattr(d, shared, []byte(dir), 0) == unix.ENOTSUP {
						t.Skip("this file system has no attributes")
					}
				}
			}
			dirs := []string{out, filepath.Join(out, "data")}
			for _, d := range dirs {
				g.Expect(unix.Setxattr(d, "system.posix_acl_access", aclFor(), 0)).To(Succeed())
				g.Expect(unix.Setxattr(d, attribute, []byte("x"), 0)).To(Succeed())
			}
			e := enginetest.Open(t, kopia.Driver{}, initialized(t))
			s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			res, err := e.Restore(t.Context(), s.ID, out,
				repository.RestoreOptions{OnConflict: tc.conflict, Owners: os.Getuid() == 0})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.AttributesNotRestored).To(BeZero())
			for _, d := range dirs {
				for _, a := range []string{"system.posix_acl_access", attribute} {
					_, err := unix.Getxattr(d, a, nil)
					g.Expect(err == nil).To(Equal(tc.keeps), "%s of %s: %v", a, d, err)
				}
				value := make([]byte, 1024)
				n, err := unix.Getxattr(d, shared, value)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(value[:n]) == src).To(Equal(!tc.keeps))
				info, err := os.Stat(d)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(info.Mode().Perm() == 0o750).To(Equal(!tc.keeps))
			}
		})
	}
}
