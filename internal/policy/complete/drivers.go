package complete

import (
	"cmp"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// drivers finds the driver of each repository: that of the first session that has one, else that of the existing
// Repository.
func (c *completer) drivers() {
	for i := range c.sessions {
		for _, info := range policy.RepositoriesOf(&c.original.Sessions[i]) {
			name := cmp.Or(info.Name, c.out.Configuration.Name)
			if c.out.Drivers[name] == "" && c.sessions[i].driver != "" {
				c.out.Drivers[name] = c.sessions[i].driver
			}
		}
	}
	for i := range c.sessions {
		for _, info := range policy.RepositoriesOf(&c.original.Sessions[i]) {
			name := cmp.Or(info.Name, c.out.Configuration.Name)
			if c.out.Drivers[name] != "" {
				continue
			}
			if existing := c.known.Repository(name); existing != nil {
				c.out.Drivers[name] = cmp.Or(existing.Spec.Driver, v1alpha1.DriverKopia)
			}
		}
	}
}

// onlySnapshots reports whether a backend is used, and only by repositories that hold VolumeSnapshots.
func (c *completer) onlySnapshots(backend string) bool {
	used := false
	for i := range c.original.Sessions {
		for _, info := range policy.RepositoriesOf(&c.original.Sessions[i]) {
			if chosen := policy.ChosenBackend(c.original.Backends, info.Backend); chosen == nil ||
				chosen.Name != backend {
				continue
			}
			if c.out.Drivers[cmp.Or(info.Name, c.out.Configuration.Name)] != v1alpha1.DriverVolumeSnapshotter {
				return false
			}
			used = true
		}
	}
	return used
}

// repositoryWithDriver completes a repository of a session whose task has a driver, and reports whether anything was
// left out.
func (c *completer) repositoryWithDriver(
	field string, driver v1alpha1.Driver, info v1alpha1.RepositoryInfo,
) (*v1alpha1.RepositoryInfo, bool) {
	name := cmp.Or(info.Name, c.out.Configuration.Name)
	has := c.out.Drivers[name]
	if driver != "" && has != driver {
		c.missing(field, v1alpha1.ReasonRepositoryConflict, "%s", policy.OtherDriverMessage(name, has, driver))
		return nil, true
	}
	if has != v1alpha1.DriverVolumeSnapshotter {
		return c.repository(field, info)
	}
	if existing := c.known.Repository(name); existing != nil && !policy.HoldsVolumeSnapshots(existing) {
		c.otherDriver(field, existing, has)
		return nil, true
	}
	// A Repository of VolumeSnapshots has no directory and no password, and of its backend only the RetentionPolicy
	// counts.
	out := v1alpha1.RepositoryInfo{Name: name, DeletionPolicy: info.DeletionPolicy}
	if b := policy.ChosenBackend(c.original.Backends, c.settings[name].Backend); b != nil && policy.NamesRetention(b) {
		out.Backend = b.Name
	}
	return &out, info.Name == ""
}

// otherDriver reports an existing Repository that has another driver than the session's task.
func (c *completer) otherDriver(field string, existing *v1alpha1.Repository, wants v1alpha1.Driver) {
	c.missing(field, v1alpha1.ReasonRepositoryConflict, "%s",
		policy.OtherDriverMessage(existing.Name, cmp.Or(existing.Spec.Driver, v1alpha1.DriverKopia), wants))
}
