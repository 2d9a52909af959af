package task

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/internal/text"
)

// KindKeep removes data from repositories and maintains them.
const KindKeep Kind = "keep"

// KeepTimeout bounds a keeper: garbage collection in a big repository takes long.
const KeepTimeout = 6 * time.Hour

// Step is how one step of a keeper went. An empty Reason means that it succeeded.
type Step struct {
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// Late reports that a check of a single component had half of its time when the keeper had none left. Nobody knows
	// whether it would have been in time.
	Late bool `json:"late,omitempty"`
}

// Steps are how the steps of a keeper went in a repository. Nil means that a step was not asked for, or that the keeper
// did not get as far: then the Outcome of the repository counts.
type Steps struct {
	Removal     *Step `json:"removal,omitempty"`
	Maintenance *Step `json:"maintenance,omitempty"`
	Check       *Step `json:"check,omitempty"`
	Scanning    *Step `json:"scanning,omitempty"`
	// LeftFiles is the number of files that a wipe left because they are not the repository's own, and LeftPlaces are
	// the first of the directories of other repositories and storages among them.
	LeftFiles  int64    `json:"left,omitempty"`
	LeftPlaces []string `json:"places,omitempty"`
}

// cut returns a copy with shorter texts.
func (s Steps) cut(limit int) Steps {
	for _, step := range []**Step{&s.Removal, &s.Maintenance, &s.Check, &s.Scanning} {
		if *step != nil {
			*step = &Step{Reason: (*step).Reason, Error: text.Cut((*step).Error, limit), Late: (*step).Late}
		}
	}
	return s
}

// limit brings what a mover reports within the limits of the API.
func (s *Steps) limit() {
	for _, step := range []*Step{s.Removal, s.Maintenance, s.Check, s.Scanning} {
		if step != nil && (step.Reason != "" || step.Error != "") {
			step.Reason, step.Error = ReasonOfFailure(step.Reason), text.Shorten(step.Error)
		}
	}
	s.LeftFiles = min(max(s.LeftFiles, 0), maxEntries)
	s.LeftPlaces = s.LeftPlaces[:min(len(s.LeftPlaces), maxLeftPlaces)]
	for i, place := range s.LeftPlaces {
		s.LeftPlaces[i] = text.Cut(place, maxLeftPlace)
	}
}

// The most places that a wipe reports, and the longest name of one in bytes.
const (
	maxLeftPlaces = 3
	maxLeftPlace  = 256
)

// Maintenance is a kind of maintenance.
type Maintenance string

// The values of Maintenance; empty means none.
const (
	MaintainQuick Maintenance = "quick"
	MaintainFull  Maintenance = "full"
)

// Keep is the work of a keeper in one repository. The Result has a component for each Keep, named by its index.
type Keep struct {
	Repository Repository `json:"repository"`
	// Remove lists the Snapshots to remove.
	Remove []Removed `json:"remove,omitempty"`
	// Wipe removes the whole directory. Nothing else happens then.
	Wipe bool `json:"wipe,omitempty"`
	// Maintain names the maintenance that follows.
	Maintain Maintenance `json:"maintain,omitempty"`
	// Check lists components of Snapshots to check after that. The Result reports in Verified how many of them were
	// checked, counted from the first, and in Damaged the indices of those that are damaged or missing.
	Check []Checked `json:"check,omitempty"`
	// Witnesses are data of Snapshots that are kept and not known to be damaged. If the repository lacks one, the
	// keeper removes and maintains nothing: a part of the storage is missing, or it has gone back in time.
	Witnesses []Witness `json:"witnesses,omitempty"`
	// Scan asks which Snapshots lie in the repository. Its value names the request. The Result tells in Scan where the
	// answer is. At most one Keep of a task has it.
	Scan string `json:"scan,omitempty"`
}

// Checked is a component of a Snapshot. The keeper checks whether the repository has all of its data.
type Checked struct {
	Snapshot  string    `json:"snapshot"`
	UID       types.UID `json:"uid"`
	Component string    `json:"component"`
	ID        string    `json:"id"`
}

// Witness is data of a Snapshot that the repository must hold, by its ID there.
type Witness struct {
	Snapshot string `json:"snapshot"`
	ID       string `json:"id"`
}

// Removed is a Snapshot whose data the keeper removes. Its object can have come back from a backup of the cluster, or
// from a scan: then its data has the UID of an earlier object.
type Removed struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
	// SnapshotID and BackupSession name the backup, whatever the UID of its object is.
	SnapshotID    string `json:"snapshotID,omitempty"`
	BackupSession string `json:"backupSession,omitempty"`
	// Rebuilt is the UID of the earlier object, if a scan has made this one.
	Rebuilt string `json:"rebuilt,omitempty"`
	// IDs of its data in the repository, as far as they are known. The keeper also removes data tagged with the UIDs.
	IDs []string `json:"ids,omitempty"`
}

// checkKeep reports what a keeper's task lacks.
func (t Task) checkKeep() error {
	if len(t.Keep) == 0 {
		return errors.New("no repositories")
	}
	for i, k := range t.Keep {
		if k.Repository.Directory == "" || k.Repository.UID == "" {
			return fmt.Errorf("repository %d has no directory or UID", i)
		}
		for _, s := range k.Remove {
			if s.Name == "" || s.UID == "" {
				return fmt.Errorf("a Snapshot of repository %d has no name or UID", i)
			}
		}
		for _, c := range k.Check {
			if c.Snapshot == "" || c.UID == "" || c.Component == "" || c.ID == "" {
				return fmt.Errorf("a component to check in repository %d has no Snapshot, UID, name or ID", i)
			}
		}
	}
	return nil
}
