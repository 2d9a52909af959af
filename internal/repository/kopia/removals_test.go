package kopia_test

import (
	"testing"
	"time"

	"github.com/kopia/kopia/repo/content"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// written returns where the manifests lie that a call has written.
func (n *nights) written(do func()) content.Info {
	n.t.Helper()
	ctx := n.t.Context()
	before := kopia.Manifests(ctx, n.t, enginetest.Open(n.t, n.d, n.r))
	do()
	after := kopia.Manifests(ctx, n.t, enginetest.Open(n.t, n.d, n.r))
	for id := range before {
		delete(after, id)
	}
	NewWithT(n.t).Expect(after).To(HaveLen(1))
	for _, c := range after {
		return c
	}
	return content.Info{}
}

// rot changes a content where it lies now. Twice makes it whole again.
func (n *nights) rot(c content.Info) {
	n.t.Helper()
	c = kopia.Manifests(n.t.Context(), n.t, enginetest.Open(n.t, n.d, n.r))[c.ContentID]
	lose(n.t, n.r, string(c.PackBlobID), func(file string) error {
		return rot(file, int64(c.PackOffset), int64(c.PackedLength))
	})
}

// removed removes a snapshot, and lets its data be collected.
func (n *nights) removed(id string) {
	n.t.Helper()
	g := NewWithT(n.t)
	g.Expect(enginetest.Open(n.t, n.d, n.r).Delete(n.t.Context(), id)).To(Succeed())
	for range 5 {
		n.c.pass(2 * time.Hour)
		g.Expect(n.maintain(n.ids...)).To(Succeed())
	}
}

// TestWhatWasRemovedStaysRemoved checks a storage that returns wrong bytes of the description of a removed snapshot for
// some nights, in which backups move all descriptions, and then the right ones again.
func TestWhatWasRemovedStaysRemoved(t *testing.T) {
	t.Parallel()
	g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 5)
	var gone string
	description := n.written(func() { gone = n.backUp() })
	n.removed(gone)
	n.rot(description)
	for range 20 {
		n.ids = append(n.ids, n.backUp())
	}
	g.Expect(len(kopia.Manifests(ctx, t, enginetest.Open(t, n.d, n.r)))).To(BeNumerically("<", 20), "they were moved")
	n.rot(description)
	g.Expect(n.healthy()).To(BeTrue())
	g.Expect(enginetest.Open(t, n.d, n.r).List(ctx, "")).To(HaveLen(len(n.ids)))
	for range 4 {
		g.Expect(n.maintain(n.ids...)).To(Succeed())
	}
	n.whole(n.ids...)
}

// TestALostRemovalIsNamed checks a storage that loses only what tells that a snapshot was removed. All snapshots that
// are needed are whole. The maintenance says what is in its way, and goes on without it.
func TestALostRemovalIsNamed(t *testing.T) {
	t.Parallel()
	g, ctx, n := NewWithT(t), t.Context(), afterNights(t, 5)
	gone := n.ids[1]
	n.ids = append(n.ids[:1:1], n.ids[2:]...)
	n.rot(n.written(func() { n.removed(gone) }))
	for range 2 {
		err := n.maintain(n.ids...)
		g.Expect(err).To(MatchError(repository.ErrCorrupt))
		g.Expect(err).To(MatchError(ContainSubstring("1 backup that no Snapshot needs")))
		g.Expect(err).To(MatchError(ContainSubstring("--delete ID): " + gone + ".")))
	}
	g.Expect(enginetest.Open(t, n.d, n.r).Delete(ctx, gone)).To(Succeed())
	for range 4 {
		g.Expect(n.maintain(n.ids...)).To(Succeed())
	}
	n.whole(n.ids...)
}
