package task

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
)

// KindKeep removes data from repositories and maintains them.
const KindKeep Kind = "keep"

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

// Removed is a Snapshot whose data the keeper removes.
type Removed struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
	// IDs of its data in the repository, as far as they are known. The keeper also removes data tagged with the UID.
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
