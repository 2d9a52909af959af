package gitstore

import (
	"context"
	"errors"
	"os"
	"time"
)

// Observe is called after each operation. op is "fetch", "commit" or "push". result is the Reason of its error. d is
// measured by the store's clock. Observe is called with the store locked: it must be quick and must not call the
// store.
type Observe func(op, result string, d time.Duration)

// reasons gives each kind of error a word. The set is closed, so the word can be the label of a metric. The first
// match wins.
var reasons = []struct {
	err  error
	word string
}{
	{context.Canceled, "canceled"},
	{errMoved, "moved"},
	{ErrRefused, "refused"},
	{ErrAuth, "auth"},
	{ErrHostKey, "host_key"},
	{ErrNoRepository, "no_repository"},
	{ErrNotServed, "not_served"},
	{ErrUnreachable, "unreachable"},
	{ErrOutcomeUnknown, "unknown_outcome"},
	{ErrHistoryRewritten, "history_rewritten"},
	{ErrTooLarge, "too_large"},
	{errCorrupt, "corrupt"},
	{ErrInvalidEdit, "invalid_edit"},
	{ErrFileTooLarge, "file_too_large"},
	{ErrAppendOnly, "append_only"},
	{os.ErrClosed, "closed"},
}

// Reason returns one word for an error of this package: "ok" for nil, "error" for an error that is not among the
// sentinels.
func Reason(err error) string {
	if err == nil {
		return "ok"
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return "error"
}

// observed starts the measurement of one operation; the returned function ends it.
func (s *Store) observed(op string) func(error) {
	if s.observe == nil {
		return func(error) {}
	}
	start := s.clock.Now()
	return func(err error) { s.observe(op, Reason(err), s.clock.Now().Sub(start)) }
}
