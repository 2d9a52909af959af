// Package share keeps one user from taking all of what many share, such as the workers of a controller: whoever is slow
// on purpose holds up himself alone. A user is a namespace, or what else the caller tells apart.
//
// A Share is safe for concurrent use. It remembers only users that hold something or wait.
package share

import (
	"context"
	"fmt"
	"sync"
)

// Share gives each user at most half of a number of slots, and at least one.
type Share struct {
	most int

	mu    sync.Mutex
	users map[string]*user
}

type user struct {
	slots   chan struct{}
	present int // those that hold a slot or wait for one
}

// Of returns the Share of a number of slots.
func Of(slots int) *Share { return &Share{most: max(1, slots/2), users: map[string]*user{}} }

// Take takes a slot for a user, and returns the function that gives it back. It returns nil if the user has no more. A
// nil Share has slots without end.
func (s *Share) Take(name string) (release func()) {
	if s == nil {
		return func() {}
	}
	u := s.enter(name)
	select {
	case u.slots <- struct{}{}:
		return s.releaser(name, u)
	default:
		s.leave(name, u)
		return nil
	}
}

// Wait waits for a slot of a user, and returns the function that gives it back, or the error of ctx.
func (s *Share) Wait(ctx context.Context, name string) (release func(), _ error) {
	u := s.enter(name)
	select {
	case u.slots <- struct{}{}:
		return s.releaser(name, u), nil
	case <-ctx.Done():
		s.leave(name, u)
		return nil, fmt.Errorf("wait for a slot: %w", ctx.Err())
	}
}

func (s *Share) releaser(name string, u *user) func() {
	return sync.OnceFunc(func() {
		<-u.slots
		s.leave(name, u)
	})
}

func (s *Share) enter(name string) *user {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[name]
	if u == nil {
		u = &user{slots: make(chan struct{}, s.most)}
		s.users[name] = u
	}
	u.present++
	return u
}

func (s *Share) leave(name string, u *user) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.present--; u.present == 0 {
		delete(s.users, name)
	}
}
