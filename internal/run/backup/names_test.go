package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/run/backup"
)

func TestSnapshotID(t *testing.T) {
	g := NewWithT(t)
	slot := time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)
	id := backup.SnapshotID(slot, "uid", "name")
	g.Expect(id).To(MatchRegexp("^[0-7][0-9A-HJKMNP-TV-Z]{25}$"))
	g.Expect(backup.SnapshotID(slot, "uid", "name")).To(Equal(id), "a repeated reconcile must get the same ID")
	g.Expect(backup.SnapshotID(slot, "uid2", "name")).NotTo(Equal(id))
	g.Expect(backup.SnapshotID(slot, "uidn", "ame")).NotTo(Equal(id))
	g.Expect(backup.SnapshotID(slot.Add(time.Millisecond), "uid", "name") > id).To(BeTrue(), "IDs sort by time")
	// The example of the ULID specification. The first ten characters are the time.
	g.Expect(backup.SnapshotID(time.UnixMilli(1469918176385))[:10]).To(Equal("01ARYZ6S41"))
}
