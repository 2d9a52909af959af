package gitstore

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"time"
)

// Clock is the source of time of a Store.
type Clock interface {
	// Now returns the time for commits and for durations passed to Observe.
	Now() time.Time
	// Sleep waits for d. If ctx ends before, it returns the error of ctx.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newJitter(source *rand.ChaCha8) *rand.Rand {
	if source == nil {
		var seed [32]byte
		_, _ = crand.Read(seed[:]) // never fails
		source = rand.NewChaCha8(seed)
	}
	return rand.New(source)
}
