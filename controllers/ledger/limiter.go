package ledger

import (
	"sync"
	"time"
)

// pushInterval is the minimum time between two pushes to one repository, whatever the number of Ledgers: forges accept
// at most about six pushes a minute.
const pushInterval = 10 * time.Second

// limiter grants the right to push to a repository. It is safe for concurrent use.
type limiter struct {
	mu   sync.Mutex
	next map[string]time.Time
}

// reserve grants a push to where, or returns how long to wait. after is the time of the last push that is known from an
// earlier process.
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

// spent corrects a reservation: the next push waits as long as this many pushes take from now on.
func (l *limiter) spent(where string, now time.Time, pushes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[where] = now.Add(time.Duration(pushes) * pushInterval)
}
