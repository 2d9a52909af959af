package keeper

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// componentsOf returns the components of a Snapshot to check: those that were never checked, or all if there are none
// such. A check that has no room for all looks at the first ones. So these are others each day, and each gets its turn.
func componentsOf(s *v1alpha1.Snapshot, now time.Time) []task.Checked {
	var all, never []task.Checked
	for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
		component := s.Status.Components[name]
		if component.ID == "" {
			continue
		}
		c := task.Checked{Snapshot: s.Name, UID: s.UID, Component: name, ID: component.ID}
		if all = append(all, c); component.Integrity == nil {
			never = append(never, c)
		}
	}
	if len(never) > 0 || len(all) == 0 {
		return never
	}
	return turned(s, all, now)
}

// turned returns the components of a Snapshot in an order that begins with another one each day.
func turned(s *v1alpha1.Snapshot, all []task.Checked, now time.Time) []task.Checked {
	if len(all) == 0 {
		return nil
	}
	day := now.Unix() / int64(24*time.Hour/time.Second)
	first := int(jitter(fmt.Sprint(s.Name, s.UID, day), time.Duration(len(all))))
	return slices.Concat(all[first:], all[:first])
}

// begun reports whether a check has looked at a part of a Snapshot, and another one has to look at the rest.
func begun(s *v1alpha1.Snapshot) bool {
	some := false
	for _, c := range s.Status.Components {
		some = some || c.Integrity != nil
	}
	return some && lacks(s, nil)
}

// lacks reports whether a Snapshot has a component that was never checked, and that a verdict on it does not have.
func lacks(s *v1alpha1.Snapshot, verdict map[string]checkedComponent) bool {
	for name, c := range s.Status.Components {
		if _, now := verdict[name]; c.ID != "" && c.Integrity == nil && !now {
			return true
		}
	}
	return false
}
