package ledger

import (
	"sync"
	"time"
)

// pushInterval is the least time between two pushes to one repository, whatever the number of Ledgers: forges want no more
// than six a minute.
const pushInterval = 10 * time.Second

// limiter gives out the right to push to a repository. It is safe for concurrent use.
type limiter struct {
	mu   sync.Mutex
	next map[string]time.Time
}

// reserve takes the right to push to where, or says how long to wait. After is the last push that is known from before
// this process.
func (l *limiter) reserve(where string, now, after time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.next[where]
	if t := after.Add(pushInterval); !after.IsZero() && t.After(next) && !after.After(now) {
		next = t
	}
	if wait = next.Sub(now); wait > 0 {
		return wait
	}
	if l.next == nil {
		l.next = map[string]time.Time{}
	}
	l.next[where] = now.Add(pushInterval)
	return 0
}

// spent settles a reservation: the next push has to wait as long as this many pushes take from now on.
func (l *limiter) spent(where string, now time.Time, pushes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[where] = now.Add(time.Duration(pushes) * pushInterval)
}
