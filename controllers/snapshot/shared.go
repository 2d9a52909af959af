package snapshot

import (
	"sync"
	"sync/atomic"

	"github.com/cairn-backup/cairn/internal/kube/index"
)

// shared gives one answer of the API server about the restores to all Snapshots that wait for one: each answer costs
// lists of the whole cluster. Nobody gets an answer that was asked for before it arrived: a restore can have begun in
// between. The zero value is ready for use, and safe for concurrent use.
type shared struct {
	begun  atomic.Uint64
	mu     sync.Mutex
	number uint64
	answer index.InUse
}

// arrive returns how many questions were asked before now.
func (s *shared) arrive() uint64 { return s.begun.Load() }

// get returns the answer to a question that was asked after an arrival. It asks if there is none.
func (s *shared) get(arrived uint64, ask func() (index.InUse, error)) (index.InUse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.number > arrived {
		return s.answer, nil
	}
	number := s.begun.Add(1)
	answer, err := ask()
	if err == nil {
		s.number, s.answer = number, answer
	}
	return answer, err
}
