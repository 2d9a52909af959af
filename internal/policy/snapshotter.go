package policy

import (
	"cmp"
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// HoldsVolumeSnapshots reports whether a Repository has the driver VolumeSnapshotter: it has no storage, no directory
// and no password, and its data are VolumeSnapshots in its namespace.
func HoldsVolumeSnapshots(r *v1alpha1.Repository) bool {
	return r.Spec.Driver == v1alpha1.DriverVolumeSnapshotter
}

// TaskDriver returns the driver of the Addon's task that info names; empty if there is no Addon or no such task.
func TaskDriver(addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool) v1alpha1.Driver {
	if addon == nil || info == nil || len(info.Tasks) == 0 {
		return ""
	}
	task := FindTask(addon, info.Tasks[0].Name, restore)
	if task == nil {
		return ""
	}
	return cmp.Or(task.Driver, v1alpha1.DriverKopia)
}

// OtherDriver returns the message about a session whose task has another driver than its Repository.
func OtherDriver(repository string, has, wants v1alpha1.Driver) string {
	return fmt.Sprintf("the Repository %q has driver %s, but the task of this session has driver %s: a Repository has only one driver. "+
		"Give the repository of this session another name", repository, has, wants)
}

// namesRetention reports whether a backend names a RetentionPolicy.
func namesRetention(b *v1alpha1.BackendReference) bool {
	return b.RetentionPolicy != nil && b.RetentionPolicy.Name != ""
}

// drivers finds the driver of each repository: that of the first session that has one, else that of the existing
// Repository.
func (c *completer) drivers() {
	for i := range c.sessions {
		for _, info := range repositoriesOf(&c.original.Sessions[i]) {
			name := cmp.Or(info.Name, c.out.Configuration.Name)
			if c.out.Drivers[name] == "" && c.sessions[i].driver != "" {
				c.out.Drivers[name] = c.sessions[i].driver
			}
		}
	}
	for i := range c.sessions {
		for _, info := range repositoriesOf(&c.original.Sessions[i]) {
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
		for _, info := range repositoriesOf(&c.original.Sessions[i]) {
			if chosen := chosenBackend(c.original.Backends, info.Backend); chosen == nil || chosen.Name != backend {
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
		c.missing(field, v1alpha1.ReasonRepositoryConflict, "%s", OtherDriver(name, has, driver))
		return nil, true
	}
	if has != v1alpha1.DriverVolumeSnapshotter {
		return c.repository(field, info)
	}
	if existing := c.known.Repository(name); existing != nil && !HoldsVolumeSnapshots(existing) {
		c.otherDriver(field, existing, has)
		return nil, true
	}
	// A Repository of VolumeSnapshots has no directory and no password, and of its backend only the RetentionPolicy
	// counts.
	out := v1alpha1.RepositoryInfo{Name: name, DeletionPolicy: info.DeletionPolicy}
	if b := chosenBackend(c.original.Backends, c.said[name].Backend); b != nil && namesRetention(b) {
		out.Backend = b.Name
	}
	return &out, info.Name == ""
}

// otherDriver reports an existing Repository that has another driver than the session's task.
func (c *completer) otherDriver(field string, existing *v1alpha1.Repository, wants v1alpha1.Driver) {
	c.missing(field, v1alpha1.ReasonRepositoryConflict, "%s",
		OtherDriver(existing.Name, cmp.Or(existing.Spec.Driver, v1alpha1.DriverKopia), wants))
}
