package policysync

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// store holds what this process knows of each PolicySync. Its zero value is ready for use, also concurrently. Stored
// values must not be changed. A lost value costs only repeated work.
type store[T any] struct {
	mu     sync.Mutex
	values map[types.NamespacedName]T
}

func (s *store[T]) get(of types.NamespacedName) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[of]
	return value, ok
}

func (s *store[T]) put(of types.NamespacedName, value T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[types.NamespacedName]T{}
	}
	s.values[of] = value
}

func (s *store[T]) forget(of types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, of)
}
