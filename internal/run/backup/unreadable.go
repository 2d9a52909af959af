package backup

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// unreadableOf lists what is missing from, or possibly torn in, components that succeeded only because the success
// policy allows it. It returns one text for each component, ordered by name.
func unreadableOf(components map[string]v1alpha1.Component) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(components)) {
		c := components[name]
		if c.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		var parts []string
		for _, p := range []struct {
			n          int64
			text, noun string
		}{
			{c.Unreadable, "lacks %s that could not be read", "entry"},
			{c.AttributesUnreadable, "lacks %s that could not be read", "attribute"},
			{c.Changed, "may be torn in %s, because something wrote there meanwhile", "file"},
		} {
			if p.n > 0 {
				parts = append(parts, fmt.Sprintf(p.text, text.Quantity(p.n, p.noun)))
			}
		}
		if len(parts) > 0 {
			out = append(out, fmt.Sprintf("component %s %s", name, strings.Join(parts, " and ")))
		}
	}
	return out
}

// unreadable returns what the backups of all Snapshots of the run could not read.
func (r *runner) unreadable() []string {
	var out []string
	for _, info := range r.d.Status.Snapshots {
		status, _ := r.status(info.Name)
		for _, d := range unreadableOf(status.Components) {
			out = append(out, "Snapshot "+info.Name+", "+d)
		}
	}
	return out
}
