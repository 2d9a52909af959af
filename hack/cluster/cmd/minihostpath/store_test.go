package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/hack/cluster/internal/btrfs"
	"github.com/cairn-backup/cairn/hack/cluster/internal/loop"
	"github.com/cairn-backup/cairn/hack/cluster/internal/pairs"
)

func TestACopyKeepsTheStateOfItsSource(t *testing.T) {
	onEveryFileSystem(t, func(t *testing.T, dir string, subvolumes bool) {
		g := NewWithT(t)
		s := newStore(filepath.Join(dir, "volumes"), subvolumes)
		g.Expect(s.init()).To(Succeed())
		a, b := idFor("vol", "a"), idFor("vol", "b")
		g.Expect(s.create(meta{ID: a, Name: "a"}, "")).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(s.data(a), "file"), []byte("before"), 0o640)).To(Succeed())
		g.Expect(s.create(meta{ID: b, Name: "b", Source: a}, s.data(a))).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(s.data(a), "file"), []byte("after"), 0o640)).To(Succeed())
		g.Expect(os.ReadFile(filepath.Join(s.data(b), "file"))).To(BeEquivalentTo("before"))
		for _, id := range []string{a, b} {
			info, err := os.Stat(s.data(id))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o777)), "pods run as any user")
		}
		g.Expect(s.list()).To(HaveLen(2))

		g.Expect(s.delete(a)).To(Succeed())
		g.Expect(s.delete(a)).To(Succeed(), "again")
		g.Expect(s.list()).To(HaveLen(1))
		g.Expect(os.ReadFile(filepath.Join(s.data(b), "file"))).
			To(BeEquivalentTo("before"), "it needs its source no more")
		g.Expect(s.delete(b)).To(Succeed())
		g.Expect(os.ReadDir(s.dir)).To(BeEmpty())
	})
}

// TestASnapshotIsAPointInTime takes snapshots from under an application that
// writes. A copy is no point in time, so the test skips file systems without
// snapshots.
func TestASnapshotIsAPointInTime(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	mountBtrfs(t, dir)
	volumes, snapshots := newStore(filepath.Join(dir, "volumes"), true), newStore(filepath.Join(dir, "snapshots"), true)
	g.Expect(volumes.init()).To(Succeed())
	g.Expect(snapshots.init()).To(Succeed())
	source := idFor("vol", "a")
	g.Expect(volumes.create(meta{ID: source}, "")).To(Succeed())

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- pairs.Write(ctx, volumes.data(source)) }()
	g.Eventually(filepath.Join(volumes.data(source), "a"), time.Minute).Should(BeADirectory(), "it writes")
	last := 0
	for i := range 10 {
		id := idFor("snap", strconv.Itoa(i))
		g.Expect(snapshots.create(meta{ID: id, Source: source}, volumes.data(source))).To(Succeed())
		summary, err := pairs.Check(snapshots.data(id))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(summary.Written).To(BeNumerically(">=", last))
		last = summary.Written
	}
	stop()
	g.Eventually(ended, time.Minute).Should(Receive(BeNil()))
	g.Expect(last).To(BeNumerically(">", 0), "it wrote meanwhile")
}

// onEveryFileSystem runs a test on what the machine has, and on btrfs if that can be mounted.
func onEveryFileSystem(t *testing.T, test func(t *testing.T, dir string, subvolumes bool)) {
	t.Helper()
	t.Run("directories", func(t *testing.T) { test(t, t.TempDir(), false) })
	t.Run("subvolumes", func(t *testing.T) {
		dir := t.TempDir()
		mountBtrfs(t, dir)
		test(t, dir, true)
	})
}

// mountBtrfs mounts a btrfs file system on a directory, or skips the test where
// the driver falls back to copies.
func mountBtrfs(t *testing.T, dir string) {
	t.Helper()
	g := NewWithT(t)
	image := filepath.Join(t.TempDir(), "image")
	if err := btrfs.Mount(image, dir, 1<<30); err != nil {
		t.Skipf("no btrfs here, so snapshots are copies: %v", err)
	}
	t.Cleanup(func() {
		g.Expect(unix.Unmount(dir, 0)).To(Succeed())
		g.Expect(loop.Release(image)).To(Succeed())
	})
	g.Expect(btrfs.Is(dir)).To(BeTrue())
}

func TestWhatACrashLeftIsDeleted(t *testing.T) {
	g := NewWithT(t)
	s := newStore(t.TempDir(), false)
	g.Expect(os.MkdirAll(filepath.Join(s.dir, tmpPrefix+"1", "data"), 0o755)).To(Succeed())
	g.Expect(s.init()).To(Succeed())
	g.Expect(os.ReadDir(s.dir)).To(BeEmpty())
}

func TestIDsFromOutsideCannotLeaveTheStore(t *testing.T) {
	for name, id := range map[string]string{
		"empty": "", "upwards": "..", "nested": "a/b", "hidden": ".tmp-x", "a zero byte": "a\x00",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newStore(t.TempDir(), false)
			_, err := s.get(id)
			g.Expect(err).To(MatchError(os.ErrNotExist))
			g.Expect(s.delete(id)).To(Succeed())
			g.Expect(s.dir).To(BeADirectory())
		})
	}
}
