package kopia_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// nights is a repository with the backups of some nights, each of another source.
type nights struct {
	t   *testing.T
	r   repository.Repository
	d   kopia.Driver
	c   *calendar
	ids []string
	// packs are the files with the directories and the manifest of each night.
	packs []string
}

func afterNights(t *testing.T, count int) *nights {
	t.Helper()
	n := &nights{t: t, r: initialized(t)}
	n.d, n.c = dated()
	known := n.files()
	for range count {
		n.ids = append(n.ids, n.backUp())
		for file := range n.files() {
			if !known[file] && strings.HasPrefix(packOf(n.r, file), "q") {
				n.packs = append(n.packs, file)
			}
			known[file] = true
		}
	}
	return n
}

func (n *nights) files() map[string]bool {
	n.t.Helper()
	out := map[string]bool{}
	for _, file := range packFiles(n.t, n.r) {
		out[file] = true
	}
	return out
}

// backUp makes the backup of a night, with other directories than those before.
func (n *nights) backUp() string {
	n.t.Helper()
	src := n.t.TempDir()
	enginetest.Incompressible(n.t, src, 3, 1<<16)
	defer n.c.pass(24 * time.Hour)
	s, err := enginetest.Open(n.t, n.d, n.r).Backup(n.t.Context(), repository.Source{Name: src, Dir: src},
		repository.BackupOptions{})
	NewWithT(n.t).Expect(err).NotTo(HaveOccurred())
	return s.ID
}

// maintain collects garbage. It needs the snapshots.
func (n *nights) maintain(ids ...string) error {
	n.t.Helper()
	defer n.c.pass(25 * time.Hour)
	return enginetest.Open(n.t, n.d, n.r).Maintain(n.t.Context(), repository.MaintainOptions{
		Full: true,
		Needed: func(context.Context) (map[string]string, error) {
			out := map[string]string{}
			for _, id := range ids {
				out[id] = "the one of " + id
			}
			return out, nil
		},
	})
}

// whole expects that the snapshots are whole, and that each can be restored.
func (n *nights) whole(ids ...string) {
	n.t.Helper()
	g, e := NewWithT(n.t), enginetest.Open(n.t, n.d, n.r)
	g.Expect(e.Check(n.t.Context(), ids)).To(BeEmpty())
	for _, id := range ids {
		_, err := e.Restore(n.t.Context(), id, n.t.TempDir(), repository.RestoreOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
}

// healthy reports whether all manifests can be read.
func (n *nights) healthy() bool {
	n.t.Helper()
	r, all := n.r, true
	r.Log = func(_, _, msg string) { all = all && !strings.Contains(msg, "descriptions of snapshots") }
	enginetest.Open(n.t, n.d, r)
	return all
}

// TestOneLostPackOfDirectories checks a storage that loses one pack of some 5 KB, that of one night's directories. The
// snapshots of the other nights have all of their data.
func TestOneLostPackOfDirectories(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(file string) error{
		"deleted": os.Remove,
		"cut off": func(file string) error { return os.Truncate(file, 100) },
		"empty":   func(file string) error { return os.Truncate(file, 0) },
		"rotten":  rotAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 4)
			lost, others := n.ids[2], append(n.ids[:2:2], n.ids[3])
			g.Expect(how(n.packs[2])).To(Succeed())
			g.Expect(n.healthy()).To(BeFalse())
			n.whole(others...)
			e := enginetest.Open(t, n.d, n.r)
			g.Expect(e.Check(ctx, n.ids)).To(ConsistOf(lost))
			g.Expect(e.List(ctx, "")).To(HaveLen(3))
			_, err := e.Restore(ctx, lost, t.TempDir(), repository.RestoreOptions{})
			g.Expect(err).To(MatchError(repository.ErrCorrupt))
			others = append(others, n.backUp(), n.backUp())
			n.whole(others...)
			g.Expect(e.Delete(ctx, others[0])).To(Succeed())
			g.Expect(enginetest.Open(t, n.d, n.r).List(ctx, "")).To(HaveLen(4))
		})
	}
}

// TestTheLastCopyOfTheManifestsIsKept checks a repository whose manifests were moved into one content, which is lost.
// Of those from which they were moved one is left: kopia does not move the manifests of a single content.
func TestTheLastCopyOfTheManifestsIsKept(t *testing.T) {
	t.Parallel()
	g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 1)
	kopia.MoveManifests(ctx, t, enginetest.Open(t, n.d, n.r))
	n.c.pass(24 * time.Hour)
	known := n.files()
	kopia.MoveManifests(ctx, t, enginetest.Open(t, n.d, n.r))
	for file := range n.files() {
		if !known[file] && strings.HasPrefix(packOf(n.r, file), "q") {
			g.Expect(os.Remove(file)).To(Succeed())
		}
	}
	g.Expect(n.healthy()).To(BeFalse())
	n.whole(n.ids...)
	g.Expect(n.maintain(n.ids...)).To(Succeed())
	g.Expect(n.healthy()).To(BeTrue())
	n.whole(append(n.ids, n.backUp())...)
}

// TestNothingIsCollectedWhileASnapshotIsLost checks that a pack which comes back brings its snapshot back. Only when
// nobody needs the snapshot any more is its description forgotten.
func TestNothingIsCollectedWhileASnapshotIsLost(t *testing.T) {
	t.Parallel()
	g, n := NewWithT(t), afterNights(t, 4)
	away := n.packs[2] + ".away"
	g.Expect(os.Rename(n.packs[2], away)).To(Succeed())
	for range 4 {
		err := n.maintain(n.ids...)
		g.Expect(err).To(MatchError(repository.ErrCorrupt))
		g.Expect(err).To(MatchError(ContainSubstring("1 Snapshot (the one of " + n.ids[2])))
	}
	e := enginetest.Open(t, n.d, n.r)
	g.Expect(e.Maintain(t.Context(), repository.MaintainOptions{Full: true})).To(MatchError(repository.ErrCorrupt))
	n.ids = append(n.ids, n.backUp())
	g.Expect(os.Rename(away, n.packs[2])).To(Succeed())
	g.Expect(n.healthy()).To(BeTrue())
	n.whole(n.ids...)

	g.Expect(os.Remove(n.packs[2])).To(Succeed())
	others := append(n.ids[:2:2], n.ids[3:]...)
	for range 4 { // the contents of the lost pack are deleted, and then they go
		g.Expect(n.maintain(others...)).To(Succeed())
		g.Expect(n.healthy()).To(BeTrue())
	}
	n.whole(append(others, n.backUp())...)
	g.Expect(kopia.KeepsAll(t.Context(), enginetest.Open(t, n.d, n.r))).To(BeTrue())
}

// TestTheListOfAllSnapshotsIsLost checks a storage that loses the pack into which kopia has moved all manifests.
func TestTheListOfAllSnapshotsIsLost(t *testing.T) {
	t.Parallel()
	g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 18)
	g.Expect(enginetest.Open(t, n.d, n.r).Delete(ctx, n.ids[17])).To(Succeed())
	n.ids = n.ids[:17]
	var list []string
	for pack, kinds := range kopia.Contents(ctx, t, enginetest.Open(t, n.d, n.r)) {
		for file := range n.files() {
			if packOf(n.r, file) == pack && kinds == "m" {
				list = append(list, file)
			}
		}
	}
	g.Expect(list).To(HaveLen(2), "the list, and a deletion")
	// The deletion is the younger one.
	younger, err := os.Stat(list[1])
	g.Expect(err).NotTo(HaveOccurred())
	if older, err := os.Stat(list[0]); err == nil && older.ModTime().After(younger.ModTime()) {
		list[0], list[1] = list[1], list[0]
	}
	g.Expect(os.Remove(list[0])).To(Succeed())
	g.Expect(n.healthy()).To(BeFalse())
	n.whole(n.ids...)
	for range 20 {
		n.ids = append(n.ids, n.backUp())
	}
	kinds := ""
	for _, k := range kopia.Contents(ctx, t, enginetest.Open(t, n.d, n.r)) {
		kinds += k
	}
	g.Expect(strings.Count(kinds, "m")).To(BeNumerically("<", 18), "backups move manifests, as kopia does")
	for range 4 {
		g.Expect(n.maintain(n.ids...)).To(Succeed())
		g.Expect(n.healthy()).To(BeTrue())
	}
	n.whole(n.ids...)
	g.Expect(enginetest.Open(t, n.d, n.r).List(ctx, "")).To(HaveLen(len(n.ids)), "what was deleted stays deleted")
}

// TestADamagedDirectoryEndsNoMaintenanceForEver checks that maintenance looks after the index while a directory is
// lost, and goes on when nobody needs the directory any more.
func TestADamagedDirectoryEndsNoMaintenanceForEver(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(file string) error{"deleted": os.Remove, "rotten": rotAll} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 18) // the pack describes no snapshot any more
			g.Expect(how(n.packs[3])).To(Succeed())
			g.Expect(n.healthy()).To(BeTrue())
			for i := range 2 {
				g.Expect(n.maintain(n.ids...)).To(MatchError(repository.ErrCorrupt))
				g.Expect(kopia.IndexCompactions(ctx, t, enginetest.Open(t, n.d, n.r))).To(Equal(i + 1))
			}
			g.Expect(enginetest.Open(t, n.d, n.r).Delete(ctx, n.ids[3])).To(Succeed())
			others := append(n.ids[:3:3], n.ids[4:]...)
			for range 4 {
				g.Expect(n.maintain(others...)).To(Succeed())
			}
			n.whole(others...)
		})
	}
}

// unsure is a storage that sometimes does not have a pack, although it lists it. Without an error it returns zeros.
type unsure struct {
	blob.Storage
	pack string
	err  error
	left *atomic.Int64 // how often
}

// GetBlob implements blob.Storage.
func (u unsure) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	wrong := string(id) == u.pack && u.left.Add(-1) >= 0
	if wrong && u.err != nil {
		return u.err
	}
	err := u.Storage.GetBlob(ctx, id, offset, length, out)
	if n := out.Length(); err == nil && wrong {
		out.Reset()
		_, err = out.Write(make([]byte, n))
	}
	return err
}

// TestAnErrorThatPassesLosesNothing checks that a pack which can't be read for a while lets operations fail, and that
// no snapshot counts as damaged or is forgotten.
func TestAnErrorThatPassesLosesNothing(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"not found": blob.ErrBlobNotFound, "unreachable": errors.New("connection reset by peer"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 4)
			before := kopia.Contents(ctx, t, enginetest.Open(t, n.d, n.r))
			var left atomic.Int64
			sure := n.d
			n.d.Wrap = func(s blob.Storage) blob.Storage {
				return unsure{sure.Wrap(s), packOf(n.r, n.packs[2]), err, &left}
			}
			left.Store(1)
			n.whole(n.ids...)
			left.Store(1 << 30)
			e := enginetest.Open(t, n.d, n.r)
			_, err := e.Check(ctx, n.ids)
			g.Expect(err).To(HaveOccurred())
			_, err = e.List(ctx, "")
			g.Expect(err).To(HaveOccurred())
			_, err = e.Backup(ctx, repository.Source{Name: "d", Dir: t.TempDir()}, repository.BackupOptions{})
			g.Expect(err).To(HaveOccurred())
			g.Expect(n.maintain(n.ids[:2]...)).NotTo(Succeed())
			n.d = sure
			g.Expect(kopia.Contents(ctx, t, enginetest.Open(t, n.d, n.r))).To(Equal(before))
			n.whole(n.ids...)
		})
	}
}

// TestWrongDataThatPassesLosesNothing checks a storage that returns wrong data of a pack for a while. Neither a mover
// that reads it meanwhile, nor one with a cache that is older, loses a snapshot for longer.
func TestWrongDataThatPassesLosesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reads, withCache int64
		lost             bool
	}{
		"all the time": {1 << 30, 1 << 30, true},
		"at first":     {3, 2, false}, // as often as it is read before its bytes are looked at
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 3)
			var left atomic.Int64
			sure, cached := n.d, n.r
			cached.CacheDir = t.TempDir()
			n.d.Wrap = func(s blob.Storage) blob.Storage {
				return unsure{sure.Wrap(s), packOf(n.r, n.packs[2]), nil, &left}
			}
			for _, r := range []repository.Repository{n.r, cached} {
				if left.Store(tc.reads); r.CacheDir != "" {
					left.Store(tc.withCache)
				}
				e, err := n.d.Open(ctx, r)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(e.Lost()).To(Equal(tc.lost))
				left.Store(0)
				g.Expect(e.List(ctx, "")).To(HaveLen(map[bool]int{true: 2, false: 3}[tc.lost]))
				g.Expect(e.Close(ctx)).To(Succeed())
				n.c.pass(48 * time.Hour)
				e, err = n.d.Open(ctx, r)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(e.Lost()).To(BeFalse())
				_, err = e.Restore(ctx, n.ids[2], t.TempDir(), repository.RestoreOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(e.Close(ctx)).To(Succeed())
			}
		})
	}
}
