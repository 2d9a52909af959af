package kopia

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/maintenance"

	"github.com/cairn-backup/cairn/internal/repository"
)

// kopia's full maintenance moves the contents of short packs together before it drops and deletes anything, and deletes
// the short packs a day later at the earliest. That takes as much room as they have, also for what nothing refers to
// any more. On a full storage it fails at once, so nothing would ever be deleted. Where room is scarce, a lean
// maintenance moves nothing: it marks, drops and deletes what kopia would, when kopia would. Then it moves contents out
// of packs that are mostly garbage, as far as there is room. kopia also notes a move of nothing, and deletes no pack in
// the hour after that. This must stay so: a move that was killed has left no note, and readers with an old index need
// the packs that it emptied. So a lean maintenance deletes every other time, or each time after one that moved.

// scarcePacks is the number of packs for which there must be room. With less, no backup can be sure to end, so that
// each maintenance collects garbage.
const scarcePacks = 2

// A storage that was found to be full counts as scarce for some time, whatever it says of its room: some do not say, or
// do not know of a quota. The note is kept among those of kopia.
const (
	taskFull  maintenance.TaskType = "cairn-storage-was-full"
	fullCount                      = 14 * 24 * time.Hour
)

// room is how much room maintenance has.
type room struct {
	// free is the number of free bytes. It is negative if the storage does not say.
	free int64
	// pack is the size of a full pack.
	pack int64
	// refused is set if the storage was full not long ago.
	refused bool
	// unsettled is set if packs that the last move emptied are still there.
	unsettled bool
}

// scarce reports whether there is hardly room for a backup.
func (r room) scarce() bool { return r.refused || r.free >= 0 && r.free < scarcePacks*r.pack }

// lean reports whether the move of so many bytes would take the room that backups need until the next maintenance.
func (r room) lean(move int64) bool { return r.scarce() || r.free >= 0 && move > r.free/2 }

// budget is the number of bytes that a lean maintenance can move: half of the free room. The other half is for backups.
// There is no second move before the packs of the last one are deleted, however often maintenance runs. That also keeps
// the packs of a killed move for an hour: where no noted move waits for the deletion, kopia notes one first.
func (r room) budget() int64 {
	if r.refused || r.unsettled || r.free < 0 {
		return 0
	}
	return r.free / 2
}

// roomOf finds out how much room the storage has.
func roomOf(ctx context.Context, rep repo.DirectRepository) (room, error) {
	r := room{free: -1}
	if c, err := rep.BlobVolume().GetCapacity(ctx); err == nil && c.SizeB > 0 { // others do not know
		r.free = int64(min(c.FreeB, math.MaxInt64))
	}
	p, err := rep.ContentReader().ContentFormat().GetMutableParameters(ctx)
	if err != nil {
		return room{}, err
	}
	r.pack = int64(p.MaxPackSize)
	s, err := maintenance.GetSchedule(ctx, rep)
	if err != nil {
		return room{}, err
	}
	r.refused = rep.Time().Before(last(s, taskFull).Add(fullCount))
	r.unsettled = unsettled(s)
	return r, nil
}

// unsettled reports whether no packs were deleted since the last move.
func unsettled(s *maintenance.Schedule) bool {
	deleted := last(s, maintenance.TaskDeleteOrphanedBlobsFull, maintenance.TaskDeleteOrphanedBlobsQuick)
	return deleted.Before(last(s, maintenance.TaskRewriteContentsFull, maintenance.TaskRewriteContentsQuick))
}

// last returns when one of the tasks last succeeded.
func last(s *maintenance.Schedule, tasks ...maintenance.TaskType) (end time.Time) {
	for _, task := range tasks {
		for _, run := range s.Runs[task] {
			if run.Success && run.End.After(end) {
				end = run.End
			}
		}
	}
	return end
}

// rememberFull notes that the storage was full, unless that is known or the storage says so itself.
func rememberFull(ctx context.Context, rep repo.DirectRepository) error {
	if r, err := roomOf(ctx, rep); err != nil || r.scarce() {
		return err
	}
	return repo.DirectWriteSession(ctx, rep, repo.WriteSessionOptions{Purpose: "remember"},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			return maintenance.ReportRun(ctx, w, taskFull, nil, func() error { return nil })
		})
}

// shortPacks returns the size of the contents that kopia would move together.
func shortPacks(ctx context.Context, rep repo.DirectRepository, pack int64) (total int64, _ error) {
	opt := content.IteratePackOptions{IncludePacksWithOnlyDeletedContent: true}
	return total, rep.ContentReader().IteratePacks(ctx, opt, func(p content.PackInfo) error {
		if short(p.TotalSize, pack) {
			total += p.TotalSize
		}
		return nil
	})
}

// short reports whether a pack of which size bytes are in use is worth moving, of that many. The share is kopia's.
func short(size, of int64) bool { return size < of/5*3 }

// collect runs a full maintenance, or a lean one if room is scarce.
func (e *repoEngine) collect(ctx context.Context, rep repo.DirectRepository, r room) error {
	move, err := shortPacks(ctx, rep, r.pack)
	if err != nil {
		return err
	}
	if !r.lean(move) {
		return e.orFull(func() error { return e.maintain(ctx, rep, maintenance.ModeFull, e.safety) })
	}
	e.sayScarce(r)
	safety := e.safety
	safety.RewriteMinAge = math.MaxInt64 // to kopia all contents are too young to be moved
	if err := e.maintain(ctx, rep, maintenance.ModeFull, safety); err != nil {
		return err
	}
	return e.orFull(func() error { return e.squeeze(ctx, rep) })
}

// orFull adds to an error of a move that the storage was full: kopia does not tell why contents could not be moved.
func (e *repoEngine) orFull(move func() error) error {
	e.full.Store(nil)
	err := move()
	full := e.full.Load()
	if err == nil || full == nil || damage(err) {
		return err
	}
	return &repository.Error{Op: "maintain", Kind: repository.ErrStorageFull, Err: fmt.Errorf("%w: %w", err, *full)}
}

// squeeze moves contents out of packs that are mostly garbage, as far as there is room. It moves no garbage.
func (e *repoEngine) squeeze(ctx context.Context, rep repo.DirectRepository) error {
	if err := rep.Refresh(ctx); err != nil {
		return err
	}
	r, err := roomOf(ctx, rep)
	if err != nil || r.budget() <= 0 {
		return err
	}
	ids, err := worthMoving(ctx, rep, r.budget())
	if err != nil || len(ids) == 0 {
		return err
	}
	// What was moved before an error counts. Otherwise it would only take room.
	return repo.DirectWriteSession(ctx, rep, repo.WriteSessionOptions{Purpose: "squeeze", FlushOnFailure: true},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			return maintenance.RunExclusive(ctx, w, maintenance.ModeFull, false,
				func(ctx context.Context, _ maintenance.RunParameters) error {
					return maintenance.ReportRun(ctx, w, maintenance.TaskRewriteContentsFull, nil, func() error {
						return maintenance.RewriteContents(ctx, w,
							&maintenance.RewriteContentsOptions{ContentIDs: ids}, e.safety)
					})
				})
		})
}

// worthMoving returns the contents of packs that are mostly garbage, at most budget bytes of them.
func worthMoving(ctx context.Context, rep repo.DirectRepository, budget int64) ([]content.ID, error) {
	lengths := map[blob.ID]int64{}
	for _, prefix := range content.PackBlobIDPrefixes {
		err := rep.BlobReader().ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			lengths[m.BlobID] = m.Length
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var packs []emptying
	opt := content.IteratePackOptions{IncludePacksWithOnlyDeletedContent: true, IncludeContentInfos: true}
	err := rep.ContentReader().IteratePacks(ctx, opt, func(p content.PackInfo) error {
		if e := emptyingOf(p.ContentInfos, lengths[p.PackID]); len(e.ids) > 0 && short(e.size, e.length) {
			packs = append(packs, e)
		}
		return nil
	})
	return choose(packs, budget), err
}

// emptying is a pack of which a part is garbage.
type emptying struct {
	ids    []content.ID // without the garbage
	size   int64        // of a pack with only these
	length int64        // of the pack
	waits  bool         // for kopia to drop garbage, before the pack can be deleted
}

// What a pack has beside its contents: padding, and its own index. Without them a pack of tiny contents would look like
// one of garbage, and be moved for ever.
const (
	packExtra    = 64 << 10
	contentExtra = 64
)

func emptyingOf(contents []content.Info, length int64) emptying {
	e := emptying{size: packExtra, length: length}
	for _, c := range contents {
		if c.Deleted {
			e.waits = true
			continue
		}
		e.ids = append(e.ids, c.ContentID)
		e.size += int64(c.PackedLength) + contentExtra
	}
	return e
}

func (e emptying) share() float64 { return float64(e.size) / float64(e.length) }

// choose returns the contents to move. What is moved out of a pack that the next maintenance deletes comes first, and
// then the packs with the largest share of garbage. The others take room for several maintenances, so they have half
// of the budget.
func choose(packs []emptying, budget int64) (ids []content.ID) {
	slices.SortFunc(packs, func(a, b emptying) int {
		switch {
		case a.waits && !b.waits:
			return 1
		case b.waits && !a.waits:
			return -1
		}
		return cmp.Compare(a.share(), b.share())
	})
	var total int64
	for _, p := range packs {
		limit := budget
		if p.waits {
			limit /= 2
		}
		if total+p.size <= limit {
			total += p.size
			ids = append(ids, p.ids...)
		}
	}
	return ids
}

// fullWatch remembers that the storage was full: kopia's error of a move does not tell why.
type fullWatch struct {
	blob.Storage
	full *atomic.Pointer[error]
}

// PutBlob implements blob.Storage.
func (f *fullWatch) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	err := f.Storage.PutBlob(ctx, id, data, o)
	if err != nil && errors.Is(kindOf(err), repository.ErrStorageFull) {
		f.full.Store(&err)
	}
	return err
}

// sayScarce logs that a maintenance is a lean one.
func (e *repoEngine) sayScarce(r room) {
	if e.log == nil {
		return
	}
	has := "was full"
	if r.free >= 0 && !r.refused {
		has = fmt.Sprintf("has %d MiB left", r.free>>20)
	}
	e.log("warn", "maintain", "the storage "+has+": maintenance removes what nothing needs any more, but moves little "+
		"or nothing of the rest together")
}
