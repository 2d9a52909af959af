package policy

import (
	"crypto/sha256"
	"encoding/hex"

	"k8s.io/apimachinery/pkg/types"
)

// ImportPrefix is the prefix of all names that ImportName returns.
const ImportPrefix = "cairn-import-"

// ImportName returns the name of the VolumeSnapshot, and of its VolumeSnapshotContent, that a RestoreSession makes for
// the time of the restore from a VolumeSnapshot of another namespace. It depends on both UIDs, because contents have no
// namespace.
func ImportName(restore, snapshot types.UID) string {
	sum := sha256.Sum256([]byte(string(restore) + "\x00" + string(snapshot)))
	return ImportPrefix + hex.EncodeToString(sum[:16])
}
