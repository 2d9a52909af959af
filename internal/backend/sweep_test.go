package backend_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
)

// Names that files have only while Cairn or kopia writes them.
const (
	cairns = ".cairn-tmp-ABCDEFGHIJKLMNOPQRSTUVWX27"
	kopias = ".tmp.0123456789abcdef"
)

// temporaries are files that were being written in the parts of the repository in web.
var temporaries = []string{
	"web/kopia/" + cairns, "web/kopia/p/a12/" + cairns, "web/kopia/.shards" + kopias,
	"web/kopia/p/a12/34567890abcdef01.f" + kopias, "web/snapshots/s/" + cairns, "web/removed/" + cairns,
}

// others are files with similar names, or in other places.
var others = []string{
	"web/.nfs0000000000a1b2c300000001", "web/kopia/.cairn-tmp-notes", "web/kopia/notes.f" + kopias,
	"web/kopia/p/a12/.nfs0000000000a1b2c300000001", "web/kopia/p/a12/34567890abcdef01.f.tmp.01",
	"web/notes/" + cairns, "web/removed/deeper/" + cairns, "web/snapshots/" + cairns, "web2/kopia/" + cairns,
}

// put writes files of one byte, to which nobody has written since the given time.
func put(t *testing.T, root string, last time.Time, files ...string) {
	t.Helper()
	g := NewWithT(t)
	for _, file := range files {
		file = filepath.Join(root, file)
		g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(file, []byte("x"), 0o644)).To(Succeed())
		g.Expect(os.Chtimes(file, last, last)).To(Succeed())
	}
}

// there are those of the files that exist.
func there(root string, files ...string) (out []string) {
	for _, file := range files {
		if _, err := os.Lstat(filepath.Join(root, file)); err == nil {
			out = append(out, file)
		}
	}
	return out
}

// TestSweep removes what nobody has written to for a day, by the clock of the storage, and nothing else.
func TestSweep(t *testing.T) {
	whereLinksCanBe(t, func(t *testing.T, root string, store backend.Store) {
		g, ctx := NewWithT(t), t.Context()
		now := time.Now().Add(-30 * 24 * time.Hour) // the clock of the storage is a month behind
		blobs := []string{"web/kopia/p/a12/34567890abcdef01.f", "web/snapshots/s/c.yaml", "web/kopia/.shards"}
		put(t, root, now.Add(-48*time.Hour), append(append(blobs, temporaries...), others...)...)
		put(t, root, now.Add(-48*time.Hour), layout.KeeperLeasePath("web", 1), "web/"+cairns, "web/keeper/"+cairns)
		young := []string{
			"web/kopia/q/b12/" + cairns, "web/kopia/q/b12/34567890abcdef01.f" + kopias, "web/removed/" + cairns + "2",
		}
		put(t, root, now.Add(-23*time.Hour), young...)

		g.Expect(backend.Sweep(ctx, store, "web")).To(Equal(backend.Swept{}), "the lease was not renewed since")
		put(t, root, now, layout.KeeperLeasePath("web", 2))
		g.Expect(backend.Sweep(ctx, store, "web")).To(
			Equal(backend.Swept{Files: len(temporaries), Bytes: int64(len(temporaries))}))
		g.Expect(there(root, temporaries...)).To(BeEmpty())
		for _, files := range [][]string{blobs, others, young} {
			g.Expect(there(root, files...)).To(Equal(files))
		}
		g.Expect(backend.Sweep(ctx, store, "web")).To(Equal(backend.Swept{}))
	})
}

// TestASweepWithoutATimeRemovesNothing: a server that tells no time, or a repository whose lease is gone.
func TestASweepWithoutATimeRemovesNothing(t *testing.T) {
	whereLinksCanBe(t, func(t *testing.T, root string, store backend.Store) {
		g, ctx := NewWithT(t), t.Context()
		put(t, root, time.Unix(0, 0), "web/kopia/"+cairns)
		g.Expect(backend.Sweep(ctx, store, "web")).To(Equal(backend.Swept{}))
		put(t, root, time.Now(), layout.KeeperLeasePath("web", 1))
		g.Expect(backend.Sweep(ctx, store, "web")).To(Equal(backend.Swept{}))
		put(t, root, time.Unix(0, 0), layout.KeeperLeasePath("web", 1))
		put(t, root, time.Now().Add(-48*time.Hour), "web/kopia/"+cairns)
		g.Expect(backend.Sweep(ctx, store, "web")).To(Equal(backend.Swept{}))
	})
}

// TestAWipeRemovesWhatWasBeingWritten: a file that List does not name can hold a part of a pack.
func TestAWipeRemovesWhatWasBeingWritten(t *testing.T) {
	whereLinksCanBe(t, func(t *testing.T, root string, store backend.Store) {
		g, ctx := NewWithT(t), t.Context()
		beside := []string{"web/" + cairns, "web/keeper/" + cairns}
		put(t, root, time.Now(), append(append(beside, temporaries...), others...)...)
		owned := func(context.Context) error { return nil }
		left, err := backend.Wipe(ctx, store, "web", owned)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(left.Files).To(Equal(len(others)-2), "a wipe takes a shorter end for kopia's too, and web2 is another")
		g.Expect(there(root, append(beside, temporaries...)...)).To(BeEmpty())

		g.Expect(os.RemoveAll(filepath.Join(root, "web"))).To(Succeed())
		put(t, root, time.Now(), append(beside, temporaries...)...)
		found, own, err := backend.Inspect(ctx, store, "web")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(found).To(Equal(backend.Left{Files: len(temporaries)}))
		g.Expect(own).To(BeFalse(), "nobody needs to say whose they are")
		mark(t, repository.Storage{Local: &repository.Local{Path: root}}, "web/keeper/repository.yaml")
		left, err = backend.Wipe(ctx, store, "web", owned)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(left).To(Equal(backend.Left{Files: 2, Places: []string{"web/keeper"}}), "the place of another")
		g.Expect(there(root, append(beside, temporaries...)...)).To(Equal([]string{"web/keeper/" + cairns}))
	})
}
