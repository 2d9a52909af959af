package kopia_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestAFullStorageThatDoesNotSayWhatIsFree checks a bucket with a quota: the first full maintenance finds that it has
// no room, and the next ones, also the daily ones, move nothing.
func TestAFullStorageThatDoesNotSayWhatIsFree(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newSmallDisk(t, "120m")
	dated := s.d.Wrap
	s.d.Wrap = func(st blob.Storage) blob.Storage { return secretive{dated(st)} }
	g.Expect(s.night(every(1, 0, 40)...)).To(Succeed())
	for n := range 9 {
		g.Expect(s.night(every(5, n%5, 40)...)).To(Succeed())
	}
	s.keepLast()
	g.Expect(s.maintain(true)).To(MatchError(repository.ErrStorageFull))
	for range 4 {
		s.c.pass(24 * time.Hour)
		g.Expect(s.maintain(false)).To(Succeed())
	}
	g.Expect(s.free()).To(BeNumerically(">", 70))
	s.restores()

	said := s.log()
	g.Expect(s.maintain(true)).To(Succeed())
	g.Expect(*said).To(ContainElement(HavePrefix("the storage was full")))
	s.c.pass(10 * 24 * time.Hour)
	*said = nil
	g.Expect(s.maintain(true)).To(Succeed(), "there is room to move")
	g.Expect(*said).NotTo(ContainElement(HavePrefix("the storage was full")))
}

// secretive is a storage that does not say how much room it has.
type secretive struct{ blob.Storage }

// GetCapacity implements blob.Storage.
func (secretive) GetCapacity(context.Context) (blob.Capacity, error) {
	return blob.Capacity{}, blob.ErrNotAVolume
}

// log keeps what the next maintenances say.
func (s *smallDisk) log() *[]string {
	var said []string
	var mu sync.Mutex
	s.r.Log = func(_, _, msg string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, msg)
	}
	return &said
}

// TestAFailedRequestIsNoFullStorage checks that a maintenance after a failed one is as any other.
func TestAFailedRequestIsNoFullStorage(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newSmallDisk(t, "400m")
	st := s.withScarce(1 << 40)
	g.Expect(s.night(every(1, 0, 80)...)).To(Succeed())
	g.Expect(s.night(slices.Concat(every(4, 0, 80), every(4, 1, 80), every(4, 2, 80))...)).To(Succeed())
	s.keepLast()
	st.cut.Store("p")
	for range 5 { // until kopia has something to move
		if s.maintain(true) != nil {
			st.cut.Store("")
			break
		}
		s.c.pass(7 * 24 * time.Hour)
	}
	g.Expect(st.cut.Load()).To(BeEmpty(), "no maintenance failed")
	said := s.log()
	for range 3 {
		g.Expect(s.maintain(true)).To(Succeed())
		s.c.pass(7 * 24 * time.Hour)
	}
	g.Expect(*said).NotTo(ContainElement(HavePrefix("the storage")))
	s.restores()
}

// scarceStore is a storage that says how much room it has.
type scarceStore struct {
	blob.Storage
	*scarceState
}

type scarceState struct {
	free   atomic.Int64
	packs  atomic.Int32 // that were written
	cut    atomic.Value // string: no blob of this prefix can be written
	forget atomic.Bool  // a pack takes hours, and then no schedule can be written
	forgot atomic.Int32
	c      *calendar
}

// GetCapacity implements blob.Volume.
func (s scarceStore) GetCapacity(context.Context) (blob.Capacity, error) {
	return blob.Capacity{SizeB: 1 << 40, FreeB: uint64(s.free.Load())}, nil
}

// PutBlob implements blob.Storage.
func (s scarceStore) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	reset := errors.New("connection reset by peer")
	switch {
	case s.cut.Load() != "" && strings.HasPrefix(string(id), s.cut.Load().(string)):
		return reset
	case strings.HasPrefix(string(id), "p"):
		s.packs.Add(1)
		if s.forget.Load() {
			s.c.pass(2 * time.Hour)
		}
	case id == "kopia.maintenance" && s.forget.Load() && s.packs.Load() > 0:
		s.forgot.Add(1)
		return reset
	}
	return s.Storage.PutBlob(ctx, id, data, o)
}

// withScarce lets the storage say that there are free bytes.
func (s *smallDisk) withScarce(free int64) *scarceState {
	st, dated := &scarceState{c: s.c}, s.d.Wrap
	st.free.Store(free)
	st.cut.Store("")
	s.d.Wrap = func(below blob.Storage) blob.Storage { return scarceStore{dated(below), st} }
	return st
}

// newSqueezable returns a repository that is about to move what is left in packs that are mostly garbage, after some
// days without room for that.
func newSqueezable(t *testing.T) (*smallDisk, *scarceState) {
	t.Helper()
	g, s := NewWithT(t), newSmallDisk(t, "400m")
	st := s.withScarce(0)
	g.Expect(s.night(every(1, 0, 80)...)).To(Succeed())
	g.Expect(s.night(slices.Concat(every(4, 0, 80), every(4, 1, 80), every(4, 2, 80))...)).To(Succeed())
	s.keepLast()
	for range 5 {
		g.Expect(s.maintain(false)).To(Succeed())
		s.c.pass(24 * time.Hour)
	}
	st.packs.Store(0)
	st.free.Store(39 << 20)
	return s, st
}

// TestAMoveWithoutANoteDeletesNothingUnderReaders checks a restore that runs during a move of hours, and the
// maintenance after it. kopia notes a move only when it ends: not if it is killed, or the note can't be written.
func TestAMoveWithoutANoteDeletesNothingUnderReaders(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, st := newSqueezable(t)
	before := s.free()
	d, moved := s.d, uint64(0)
	d.Wrap = func(below blob.Storage) blob.Storage {
		return &hooked{Storage: s.d.Wrap(below), do: sync.OnceFunc(func() {
			st.forget.Store(true)
			g.Expect(s.maintain(false)).To(Succeed())
			st.forget.Store(false)
			g.Expect(st.forgot.Load()).To(BeNumerically(">", 0))
			moved = s.free()
			s.c.pass(time.Minute)
			g.Expect(s.maintain(false)).To(Succeed())
			g.Expect(s.free()).To(BeNumerically("<=", moved), "no pack is deleted")
		})}
	}
	reader := enginetest.Open(t, d, s.r)
	_, err := reader.Restore(s.Context(), s.kept[0], t.TempDir(), repository.RestoreOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(moved).To(BeNumerically("<", before), "something was moved")
	g.Expect(reader.Close(t.Context())).To(Succeed())
	for range 2 {
		s.c.pass(24 * time.Hour)
		g.Expect(s.maintain(false)).To(Succeed())
	}
	g.Expect(s.free()).To(BeNumerically(">", before))
	s.restores()
}

// hooked calls do before each read of a pack.
type hooked struct {
	blob.Storage
	do func()
}

// GetBlob implements blob.Storage.
func (h *hooked) GetBlob(ctx context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	if strings.HasPrefix(string(id), "p") {
		h.do()
	}
	return h.Storage.GetBlob(ctx, id, off, n, out)
}

// TestNothingMovesBeforeThePacksOfTheLastMoveAreDeleted checks a keeper that runs again and again: each time it would
// take half of the room that is left.
func TestNothingMovesBeforeThePacksOfTheLastMoveAreDeleted(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, st := newSqueezable(t)
	if g.Expect(s.maintain(false)).To(Succeed()); st.packs.Load() == 0 { // kopia deletes every other time
		s.c.pass(24 * time.Hour)
		g.Expect(s.maintain(false)).To(Succeed())
	}
	moved, free := st.packs.Load(), s.free()
	g.Expect(moved).To(BeNumerically(">", 0))
	for _, wait := range []time.Duration{1, 2, 4, 8, 16} {
		s.c.pass(wait * time.Minute)
		g.Expect(s.maintain(true)).To(Succeed())
		g.Expect(st.packs.Load()).To(Equal(moved))
	}
	s.c.pass(time.Hour)
	g.Expect(s.maintain(false)).To(Succeed())
	g.Expect(s.free()).To(BeNumerically(">", free), "its packs are deleted")
	s.restores()
}

// TestTheIndexIsKeptSmallWithoutRoom checks a storage that is scarce, so that each maintenance is a full one, and on
// which none comes to its end.
func TestTheIndexIsKeptSmallWithoutRoom(t *testing.T) {
	t.Parallel()
	g, s := NewWithT(t), newSmallDisk(t, "60m")
	st := s.withScarce(0)
	g.Expect(s.night(0)).To(Succeed())
	g.Expect(s.night(0)).To(Succeed())
	s.keepLast()
	s.c.pass(24 * time.Hour)
	st.cut.Store("x")
	g.Expect(s.maintain(false)).NotTo(Succeed(), "what is garbage can't be marked")
	g.Expect(s.do(func(e repository.Engine) error {
		g.Expect(kopia.IndexCompactions(t.Context(), t, e)).To(Equal(1))
		return nil
	})).To(Succeed())
}
