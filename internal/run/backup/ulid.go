package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// SnapshotID returns the ULID of a Snapshot. It consists of the slot in milliseconds, so that IDs sort by time, and 80
// bits of a hash of the parts where a ULID usually has random bits. The same slot and parts always give the same ID. So
// a repeated reconcile recognises its own Snapshot, and never mistakes the Snapshot of another run with the same name
// for its own.
func SnapshotID(slot time.Time, parts ...string) string {
	var id [16]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(slot.UnixMilli(), 0)))
	copy(id[:6], ms[2:])
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	copy(id[6:], sum[:10])

	// 128 bits are 26 characters of 5 bits. The first character holds only 3 of them.
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	out := make([]byte, 26)
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = v1alpha1.SnapshotIDAlphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(out)
}
