package backup

import (
	"encoding/json"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A run is one object, for which etcd accepts at most 1.5 MiB. The status that is written while the run goes on needs
// room in it: so many bytes for each Snapshot, for each hook of a target, and for everything else.
const (
	maxRun       = 1400 << 10
	snapshotRoom = 512
	hookRoom     = 512
	otherRoom    = 160 << 10
)

// tooLarge reports whether a run with several targets is about to be frozen that would not fit into one object, or
// would outgrow it later. A single target that is too large is left to the API server, whose error says more.
func tooLarge(status *v1alpha1.BackupSessionStatus) bool {
	if len(status.Targets) <= 1 {
		return false
	}
	raw, err := json.Marshal(status)
	size := len(raw) + otherRoom
	for i := range status.Resolved.Targets {
		t := &status.Resolved.Targets[i]
		size += len(t.Repositories) * snapshotRoom
		if t.Hooks != nil {
			size += (len(t.Hooks.Pre) + len(t.Hooks.Post)) * hookRoom
		}
	}
	return err == nil && size > maxRun
}
