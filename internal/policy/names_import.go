package policy

import (
	"crypto/sha256"
	"encoding/hex"

	"k8s.io/apimachinery/pkg/types"
)

// ImportPrefix begins all names that ImportName gives.
const ImportPrefix = "cairn-import-"

// ImportName is the name of the VolumeSnapshot, and of its VolumeSnapshotContent, that a RestoreSession makes for its own time of a
// VolumeSnapshot of another namespace. Contents have no namespace: it is made of both UIDs.
func ImportName(restore, snapshot types.UID) string {
	sum := sha256.Sum256([]byte(string(restore) + "\x00" + string(snapshot)))
	return ImportPrefix + hex.EncodeToString(sum[:16])
}
