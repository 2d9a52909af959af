package gitstore

import (
	"context"
	"errors"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// Back-off between attempts of one Update: doubling, half of it random, so that writers that collided once do not
// collide again.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// Result says what an Update achieved.
type Result struct {
	Commit   plumbing.Hash // the tip that contains the edits
	Outcome  Outcome
	Attempts int
}

// Accepted reports whether the server has said that it took a push of this Update. Only that proves the right to write
// to the branch: who can read it finds there what others have pushed.
func (r Result) Accepted() bool { return r.Outcome == accepted }

// EditFunc computes edits for a head. It can be called several times and must not call the store. The Reader is valid
// only during the call.
type EditFunc func(ctx context.Context, head Reader) ([]Edit, Meta, error)

// Update fetches, asks edit what to change on that head, commits and pushes. It repeats all of it while other writers
// move the branch. It is safe to repeat after any error: edits whose content exists already change nothing. Only
// ErrMoved is retried here; for every other error the caller needs its own back-off.
//
// While nobody else writes, Update skips the fetch: the push lists the refs and finds a branch that has moved, and
// then Update takes the whole way.
func (s *Store) Update(ctx context.Context, edit EditFunc) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched && s.fresh && s.alone && s.head == s.base && !s.overgrown() {
		result := Result{Attempts: 1}
		s.fresh = false // until the push lands: any error makes the next Update fetch
		err := s.once(ctx, edit, &result)
		// Only an answer of the server counts. "Unchanged", or an edit's own error, would describe a head that nobody
		// has confirmed.
		var remote *RemoteError
		if err == nil && result.Outcome != Unchanged || errors.As(err, &remote) && !errors.Is(err, errMoved) {
			return result, err
		}
	}
	pause := firstPause
	for attempt := 1; ; attempt++ {
		result := Result{Attempts: attempt}
		err := s.healing(func() error {
			if err := s.fetch(ctx); err != nil {
				return err
			}
			return s.once(ctx, edit, &result)
		})
		if !errors.Is(err, errMoved) || attempt >= s.limits.Attempts {
			return result, err
		}
		wait := pause/2 + time.Duration(s.jitter.Int64N(int64(pause)/2+1))
		if err := s.clock.Sleep(ctx, wait); err != nil {
			return result, s.remote.classify("wait for a quiet branch", errors.Join(context.Cause(ctx), err))
		}
		pause = min(2*pause, maxPause)
	}
}

// once edits, commits and pushes on the present head.
func (s *Store) once(ctx context.Context, edit EditFunc, result *Result) error {
	edits, meta, err := edit(ctx, view{s})
	if err != nil {
		return err
	}
	if result.Commit, err = s.commit(ctx, edits, meta); err != nil {
		return err
	}
	result.Outcome, err = s.push(ctx)
	return err
}
