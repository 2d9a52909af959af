package session

import (
	"encoding/json"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A run is one object, which etcd takes up to 1.5 MiB. What is said as the run goes on needs room in it: so many bytes for each
// Snapshot and for each hook of a target, and for all the rest.
const (
	maxRun       = 1400 << 10
	snapshotRoom = 512
	hookRoom     = 512
	otherRoom    = 160 << 10
)

// tooLarge says whether a run that is about to be frozen has so many targets that it would not fit, or not stay so. Of one target
// that is too large the API server says more.
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
