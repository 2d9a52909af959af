package kopia

import (
	"errors"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/maintenance"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

func TestMaintenanceIsLeanWhereRoomIsScarce(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		room
		move         int64
		scarce, lean bool
		budget       int64
	}{
		"a disk with much room":         {room{free: 500 * mib}, 200 * mib, false, false, 250 * mib},
		"most of it would be moved":     {room{free: 500 * mib}, 300 * mib, false, true, 250 * mib},
		"after a move":                  {room{free: 500 * mib, unsettled: true}, 200 * mib, false, false, 0},
		"no room for a backup":          {room{free: 39 * mib}, 0, true, true, 39 * mib / 2},
		"a full disk":                   {room{}, 0, true, true, 0},
		"a bucket":                      {room{free: -1}, 300 * mib, false, false, 0},
		"a bucket that was full":        {room{free: -1, refused: true}, 0, true, true, 0},
		"a quota that nobody tells of":  {room{free: 500 * mib, refused: true}, 0, true, true, 0},
		"nothing to move and much room": {room{free: 41 * mib}, 0, false, false, 41 * mib / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			tc.pack = 20 * mib
			g.Expect(tc.room.scarce()).To(Equal(tc.scarce))
			g.Expect(tc.room.lean(tc.move)).To(Equal(tc.lean))
			g.Expect(tc.room.budget()).To(Equal(tc.budget))
		})
	}
}

// TestMovesWaitForTheDeletion checks when the packs that a move emptied are gone, so that the next one can begin.
func TestMovesWaitForTheDeletion(t *testing.T) {
	t.Parallel()
	const (
		move, quickMove         = maintenance.TaskRewriteContentsFull, maintenance.TaskRewriteContentsQuick
		deletion, quickDeletion = maintenance.TaskDeleteOrphanedBlobsFull, maintenance.TaskDeleteOrphanedBlobsQuick
	)
	type run struct {
		of     maintenance.TaskType
		failed bool
	}
	for name, tc := range map[string]struct {
		runs []run
		want bool
	}{
		"never moved":            {nil, false},
		"a move":                 {[]run{{of: move}}, true},
		"a quick move":           {[]run{{of: quickMove}}, true},
		"deleted since then":     {[]run{{of: move}, {of: deletion}}, false},
		"a quick deletion":       {[]run{{of: move}, {of: quickDeletion}}, false},
		"moved since then":       {[]run{{of: move}, {of: deletion}, {of: move}}, true},
		"a deletion that failed": {[]run{{of: move}, {of: deletion, failed: true}}, true},
		"a move that failed":     {[]run{{of: move}, {of: deletion}, {of: move, failed: true}}, false},
		"something else":         {[]run{{of: move}, {of: maintenance.TaskCleanupLogs}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, now := &maintenance.Schedule{}, time.Now()
			for i, r := range tc.runs {
				end := now.Add(time.Duration(i) * time.Minute)
				s.ReportRun(r.of, maintenance.RunInfo{End: end, Success: !r.failed})
			}
			NewWithT(t).Expect(unsettled(s)).To(Equal(tc.want))
		})
	}
}

// TestOnlyTheMoveItselfCanMeetAFullStorage checks an error after an earlier request that found the storage full.
func TestOnlyTheMoveItselfCanMeetAFullStorage(t *testing.T) {
	t.Parallel()
	g, e, full := NewWithT(t), &repoEngine{}, errors.New("no space left")
	e.full.Store(&full)
	g.Expect(e.orFull(func() error { return errors.New("reset") })).NotTo(MatchError(repository.ErrStorageFull))
	g.Expect(e.orFull(func() error {
		e.full.Store(&full)
		return errors.New("not moved")
	})).To(MatchError(repository.ErrStorageFull))
}

func TestWhatIsMovedWhereRoomIsScarce(t *testing.T) {
	t.Parallel()
	var ids []content.ID
	for _, s := range []string{"aa", "bb", "cc", "dd"} {
		id, err := content.ParseID(s)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		ids = append(ids, id)
	}
	pack := func(i int, size int64, waits bool) emptying {
		return emptying{ids: ids[i : i+1], size: size, length: 20, waits: waits}
	}
	for name, tc := range map[string]struct {
		packs []emptying
		want  []content.ID
	}{
		"the emptiest first":         {[]emptying{pack(0, 9, false), pack(1, 3, false), pack(2, 5, false)}, ids[1:3]},
		"what is free at once first": {[]emptying{pack(0, 1, true), pack(1, 5, false)}, ids[1:2]},
		"half for what waits":        {[]emptying{pack(0, 3, true), pack(1, 3, true)}, ids[:1]},
		"nothing fits":               {[]emptying{pack(0, 11, false), pack(1, 6, true)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(choose(tc.packs, 10)).To(Equal(tc.want))
		})
	}
}
