// Package room shares the memory of this process among what takes much of it: packs of Git, checkouts and builds. What
// is small goes on beside each other, and what is large waits for its turn. It belongs to the process: all functions
// are safe for concurrent use.
//
// Nobody holds room while it waits for a server, so that no server holds up others. Nobody who holds room asks
// for more.
package room

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// Size is how many bytes can be taken at the same time. With what the manager always needs, it is less than the
	// limit in config/manager.
	Size = 256 << 20
	// large is how many bytes are given back to the system at once, instead of with the next garbage collection.
	large = 32 << 20
)

var free = semaphore.NewWeighted(Size)

// Take waits until there is room for so many bytes. What needs more than Size gets all of it. The caller calls release
// when it no longer needs them.
func Take(ctx context.Context, bytes int64) (release func(), err error) {
	bytes = max(0, min(bytes, Size))
	if err := free.Acquire(ctx, bytes); err != nil {
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	return sync.OnceFunc(func() {
		if bytes >= large {
			debug.FreeOSMemory()
		}
		free.Release(bytes)
	}), nil
}
