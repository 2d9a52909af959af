package movers

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"github.com/cairn-backup/cairn/internal/run"
)

// Pauses remembers what the API server refuses to make for an object, until that is tried again. An event is no reason
// for a try: a refusal can use other words each time, and to write them into a status is an event. It remembers the
// last 4,096 objects, and nothing after a restart: then everything is tried at once. The zero value is ready for use.
// Pauses is safe for concurrent use.
type Pauses struct {
	mu  sync.Mutex
	all *lru.Cache // of pauses, by the UID of their object
}

// pause lies between two tries.
type pause struct {
	refused     Refusals
	began, ends time.Time
}

const remembered = 4096

// Hold adds to refused which of the names were refused and are not to be tried yet. It reports whether it added some:
// then another decision leaves these out.
func (p *Pauses) Hold(ctx context.Context, of types.UID, now time.Time, refused Refusals, names []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := len(refused)
	if is := p.of(of); is.lasts(now) {
		for _, name := range names {
			if refusal := is.refused[name]; refusal != nil {
				refused.Set(ctx, name, refusal)
			}
		}
	}
	return len(refused) > known
}

// Held returns a refusal if what has the name was refused and is not to be tried yet.
func (p *Pauses) Held(of types.UID, now time.Time, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if is := p.of(of); is.lasts(now) && is.refused[name] != nil {
		return Refuse(is.refused[name].Reason, "%s", is.refused[name].Message)
	}
	return nil
}

// Begin begins a pause of this length if something is refused that can pass. What is refused during a pause is tried
// with the rest at its end, and a shorter length makes the pause end sooner: something has happened since. It returns
// when to try again: 0 means that nothing is refused.
func (p *Pauses) Begin(of types.UID, now time.Time, refused Refusals, length time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	is := p.of(of)
	if !is.lasts(now) {
		is = &pause{refused: Refusals{}, began: now, ends: now.Add(length)}
	}
	is.ends = now.Add(min(is.ends.Sub(now), length))
	refuses := false
	for name, refusal := range refused {
		if run.CanPass(refusal) {
			is.refused[name], refuses = refusal, true
		}
	}
	if !refuses || length <= 0 {
		return 0
	}
	p.all.Add(of, is)
	return is.ends.Sub(now)
}

// Left returns how long the pause of an object still lasts: 0 means that it has none.
func (p *Pauses) Left(of types.UID, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if is := p.of(of); is.lasts(now) {
		return is.ends.Sub(now)
	}
	return 0
}

// Forget forgets an object.
func (p *Pauses) Forget(of types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all != nil {
		p.all.Remove(of)
	}
}

// of returns the last pause of an object, nil if there was none.
func (p *Pauses) of(object types.UID) *pause {
	if p.all == nil {
		p.all = lru.New(remembered)
	}
	is, _ := p.all.Get(object)
	last, _ := is.(*pause)
	return last
}

// lasts reports whether the pause is not over. A clock that was set back ends it.
func (is *pause) lasts(now time.Time) bool {
	return is != nil && !now.Before(is.began) && now.Before(is.ends)
}
