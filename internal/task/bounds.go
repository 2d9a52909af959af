package task

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// The API accepts at most so many bytes of what a mover reports of a component.
const (
	maxID       = 128
	maxDuration = 32
)

// bound brings the report of a mover within the limits of the API: a status that the API server refuses would hold up
// the run for ever. A component with an ID that is too long failed, because a part of an ID names no data.
func (r *Result) bound() {
	r.Reason = reasonOf(r.Outcome, r.Reason)
	r.Message = text.Shorten(r.Message)
	for i := range r.Components {
		c := &r.Components[i]
		if n := len(c.ID); n > maxID {
			c.Outcome, c.Reason, c.ID = OutcomeFailed, v1alpha1.ReasonFailed, ""
			c.Error = fmt.Sprintf("the mover reported an ID of %d bytes: the longest ID has %d", n, maxID)
		}
		if len(c.Duration) > maxDuration {
			c.Duration = ""
		}
		c.Reason = reasonOf(c.Outcome, c.Reason)
		c.Error = text.Shorten(c.Error)
	}
}
