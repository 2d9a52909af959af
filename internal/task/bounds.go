package task

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// The longest texts of a component, in bytes, that the API accepts.
const (
	maxID       = 128
	maxDuration = 32
	maxPattern  = 128
)

// maxPatterns is the highest number of patterns of a component.
const maxPatterns = 10

// maxTelling is how many components of one object tell their unmatched patterns. More of them could outgrow the object:
// etcd accepts 1.5 MiB.
const maxTelling = 100

// TellsPatterns reports whether each of so many components of one object tells the patterns that matched nothing.
func TellsPatterns(components int) bool { return components <= maxTelling }

// The highest numbers of a component. The sums over the 2,000 components of a status still fit into an int64.
const (
	maxEntries = 1 << 40
	maxBytes   = 1 << 52
)

// limit brings each value that a mover reports within the limits of the API: a status that the API server refuses would
// hold up the run for ever. A component with an ID that is too long failed, because a part of an ID names no data.
func (r *Result) limit() {
	r.Reason = reasonOf(r.Outcome, r.Reason)
	r.Message = text.Shorten(r.Message)
	for i := range r.Components {
		r.Components[i].bound()
	}
}

// bound brings one component within the limits of the API.
func (c *ComponentResult) bound() {
	if n := len(c.ID); n > maxID {
		c.Outcome, c.Reason, c.ID = OutcomeFailed, v1alpha1.ReasonFailed, ""
		c.Error = fmt.Sprintf("the mover reported an ID of %d bytes: the longest ID has %d", n, maxID)
	}
	if len(c.Duration) > maxDuration {
		c.Duration = ""
	}
	c.StartTime, c.CompletionTime = inRange(c.StartTime), inRange(c.CompletionTime)
	c.limitNumbers()
	c.UnmatchedPatterns = Patterns(c.UnmatchedPatterns)
	c.limit()
	c.Reason = reasonOf(c.Outcome, c.Reason)
	c.Error = text.Shorten(c.Error)
}

// Reported returns a component of a page of a scan as if a mover had just reported it: within the same limits, and
// without what only the manager sets. What a page says comes from the backend.
func Reported(c v1alpha1.Component, driver v1alpha1.Driver) v1alpha1.Component {
	r := ComponentResult{
		ComponentCounts: c.ComponentCounts, Outcome: OutcomeFailed, ID: c.ID, Path: c.Path,
		SizeBytes: c.SizeBytes, UploadedBytes: c.UploadedBytes, UnmatchedPatterns: c.UnmatchedPatterns,
		StartTime: c.StartTime, CompletionTime: c.CompletionTime, Duration: c.Duration,
		Reason: c.Reason, Error: c.Error,
	}
	if c.Phase == v1alpha1.SnapshotSucceeded {
		r.Outcome = OutcomeSucceeded
	}
	r.bound()
	return r.Component(driver)
}

// limitNumbers brings counts and sizes into a range in which they can be added up. A negative count would hide what
// another mover left out.
func (c *ComponentResult) limitNumbers() {
	for _, n := range []*int64{
		&c.Files, &c.Directories, &c.Symlinks, &c.HardLinks, &c.Special, &c.Sockets, &c.Unreadable,
		&c.AttributesUnreadable, &c.Vanished, &c.Changed, &c.Restless, &c.OwnersNotRestored, &c.AttributesNotRestored,
		&c.DevicesNotRestored, &c.LinksNotRestored, &c.ExtraKept, &c.Overwritten, &c.Kept, &c.Deleted,
		&c.Verified, &c.Different,
	} {
		*n = min(max(*n, 0), maxEntries)
	}
	for _, n := range []*int64{&c.SizeBytes, &c.UploadedBytes, &c.PreviousSizeBytes} {
		*n = min(max(*n, 0), maxBytes)
	}
	if c.Scan != nil {
		c.Scan.limit()
	}
}

// Patterns brings a list of patterns within the limits of the API.
func Patterns(list []string) []string {
	var out []string
	for _, p := range list[:min(len(list), maxPatterns)] {
		out = append(out, text.Cut(p, maxPattern))
	}
	return out
}

// inRange returns the time, or nil if the API cannot hold it. It also drops times before 1970, such as the zero time.
func inRange(t *metav1.Time) *metav1.Time {
	if t == nil || t.Unix() < 0 || t.UTC().Year() > 9999 {
		return nil
	}
	return t
}
