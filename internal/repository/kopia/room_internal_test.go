package kopia

import (
	"testing"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/maintenance"
	. "github.com/onsi/gomega"
)

func TestMaintenanceIsLeanWhereRoomIsScarce(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		room
		scarce, lean bool
		budget       int64
	}{
		"a disk with much room":         {room{free: 500 * mib, move: 200 * mib}, false, false, 250 * mib},
		"most of it would be moved":     {room{free: 500 * mib, move: 300 * mib}, false, true, 250 * mib},
		"no room for a backup":          {room{free: 39 * mib}, true, true, 39 * mib / 2},
		"a full disk":                   {room{}, true, true, 0},
		"a bucket":                      {room{free: -1, move: 300 * mib}, false, false, 0},
		"a bucket that was full":        {room{free: -1, refused: true}, false, true, 0},
		"a quota that nobody tells of":  {room{free: 500 * mib, refused: true}, false, true, 0},
		"nothing to move and much room": {room{free: 41 * mib}, false, false, 41 * mib / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			tc.pack = 20 * mib
			g.Expect(tc.room.scarce()).To(Equal(tc.scarce))
			g.Expect(tc.room.lean()).To(Equal(tc.lean))
			g.Expect(tc.room.budget()).To(Equal(tc.budget))
		})
	}
}

func TestWhenTheStorageWasFull(t *testing.T) {
	t.Parallel()
	moved, failed := maintenance.RunInfo{Success: true}, maintenance.RunInfo{}
	for name, tc := range map[string]struct {
		moves []maintenance.RunInfo
		want  bool
	}{
		"never moved":         {nil, false},
		"moves that ended":    {[]maintenance.RunInfo{moved, moved}, false},
		"the last one failed": {[]maintenance.RunInfo{failed, moved}, false},
		"lean since then":     {[]maintenance.RunInfo{moved, moved, failed}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(refused(tc.moves)).To(Equal(tc.want))
		})
	}
}

// at is a repository at a time.
type at struct {
	repo.DirectRepository
	now time.Time
}

func (a at) Time() time.Time { return a.now }

// TestPacksStayAfterAMove checks that a lean maintenance waits as long as kopia does: readers can have an old index.
func TestPacksStayAfterAMove(t *testing.T) {
	t.Parallel()
	now := time.Now()
	e := &repoEngine{rep: at{now: now}, safety: maintenance.SafetyFull}
	for name, tc := range map[string]struct {
		of   maintenance.TaskType
		ago  time.Duration
		want bool
	}{
		"an hour and more": {maintenance.TaskRewriteContentsFull, 61 * time.Minute, true},
		"less":             {maintenance.TaskRewriteContentsFull, 59 * time.Minute, false},
		"a quick one":      {maintenance.TaskRewriteContentsQuick, 59 * time.Minute, false},
		"something else":   {maintenance.TaskSnapshotGarbageCollection, 0, true},
	} {
		for _, success := range []bool{true, false} {
			s := &maintenance.Schedule{}
			s.ReportRun(tc.of, maintenance.RunInfo{End: now.Add(-tc.ago), Success: success})
			NewWithT(t).Expect(e.settled(s)).To(Equal(tc.want), name)
		}
	}
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
