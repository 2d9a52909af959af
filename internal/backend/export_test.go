package backend

import "time"

func timeout(s Store) *time.Duration {
	switch s := s.(type) {
	case *filesStore:
		return &s.within
	case *cloudStore:
		return &s.within
	default:
		return &s.(*s3Store).within
	}
}

// Within returns how long a store waits for an answer.
func Within(s Store) time.Duration { return *timeout(s) }

// SetWithin sets how long a store waits for an answer.
func SetWithin(s Store, d time.Duration) { *timeout(s) = d }
