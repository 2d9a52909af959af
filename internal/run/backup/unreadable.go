package backup

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/text"
)

// flaw is something that a component can lack although it succeeded.
type flaw struct {
	count      func(*v1alpha1.Component) int64
	text, noun string
}

var (
	// allowed are the flaws with which a component succeeds only because the success policy allows it.
	allowed = []flaw{
		{
			func(c *v1alpha1.Component) int64 { return c.Unreadable },
			"lacks %s that could not be read", "entry",
		},
		{
			func(c *v1alpha1.Component) int64 { return c.AttributesUnreadable },
			"lacks %s that could not be read", "attribute",
		},
		{
			func(c *v1alpha1.Component) int64 { return c.Changed },
			"may be torn in %s, because something wrote there meanwhile", "file",
		},
	}
	// unrest is the flaw of a volume that is in use. It can be that of each run, so messages say it last.
	unrest = []flaw{{
		func(c *v1alpha1.Component) int64 { return c.Restless },
		"may lack what moved meanwhile in %s that changed at each read", "directory",
	}}
)

// flawsOf lists what is missing from, or possibly torn in, components that succeeded. It returns one text for each
// component, ordered by name.
func flawsOf(components map[string]v1alpha1.Component, kinds []flaw) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(components)) {
		c := components[name]
		if c.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		var parts []string
		for _, f := range kinds {
			if n := f.count(&c); n > 0 {
				parts = append(parts, fmt.Sprintf(f.text, text.Quantity(n, f.noun)))
			}
		}
		if len(parts) > 0 {
			out = append(out, fmt.Sprintf("component %s %s", name, strings.Join(parts, " and ")))
		}
	}
	return out
}

// maxMissing is how many missing components a message names.
const maxMissing = 10

// Missing returns the components that the session's newest successful Snapshot of a target in its first Repository has
// and that the target no longer has, ordered by name. A backup without them would look as whole as the last one.
// Another session can back up more or less of the target on purpose, and so can one of the same name of another policy.
func Missing(
	snapshots []v1alpha1.Snapshot, session *v1alpha1.BackupSession, t *v1alpha1.ResolvedTarget, now time.Time,
) []string {
	now = run.Latest(now, session.CreationTimestamp)
	var last *v1alpha1.Snapshot
	for i := range snapshots {
		s := &snapshots[i]
		if s.Spec.Repository == t.Repositories[0].Name && sameSession(s, session) && s.Spec.AppRef == t.AppRef &&
			s.Status.Phase == v1alpha1.SnapshotSucceeded && s.MadeAt() != nil &&
			!v1alpha1.HasRecordAnnotation(s.Annotations) && (last == nil ||
			run.CompareTimes(s.MadeBy(now).Time, last.MadeBy(now).Time, now) > 0) {
			last = s
		}
	}
	if last == nil {
		return nil
	}
	gone := map[string]bool{}
	for name := range last.Status.Components {
		gone[name] = true
	}
	for i := range t.Hosts {
		for _, v := range t.Hosts[i].Volumes {
			delete(gone, v.Component)
		}
	}
	return slices.Sorted(maps.Keys(gone))
}

// sameSession reports whether a Snapshot is of the session that a run belongs to. A Snapshot without the labels of its
// policy can be of any.
func sameSession(s *v1alpha1.Snapshot, of *v1alpha1.BackupSession) bool {
	invoker := of.Spec.Invoker
	kind, name := s.Labels[v1alpha1.LabelInvokerKind], s.Labels[v1alpha1.LabelInvokerName]
	return s.Spec.Session == of.Spec.Session && (kind == "" || name == "" || invoker.Name == "" ||
		kind == invoker.Kind && name == policy.LabelValue(invoker.Name))
}

// missingText says which components of their last backup the targets no longer have, or returns "".
func missingText(targets []StartTarget) string {
	var out []string
	for i := range targets {
		t := &targets[i]
		names := strings.Join(t.Missing[:min(len(t.Missing), maxMissing)], ", ")
		if len(t.Missing) > maxMissing {
			names += " and others"
		}
		if names != "" {
			out = append(out, fmt.Sprintf("%s: the target no longer has what its last backup had: %s", t.Resolved.Name,
				names))
		}
	}
	return strings.Join(out, "; ")
}

// flaws returns what the backups of all Snapshots of the run can lack.
func (r *runner) flaws(kinds []flaw) []string {
	var out []string
	for _, info := range r.d.Status.Snapshots {
		status, _ := r.status(info.Name)
		for _, d := range flawsOf(status.Components, kinds) {
			out = append(out, "Snapshot "+info.Name+", "+d)
		}
	}
	return out
}
