package oneshot

import "sync"

// StartLock serializes the starts of objects that must not start beside each other. Its zero value is ready for use.
type StartLock struct{ mutex sync.Mutex }

// Take takes the lock and calls look. It keeps the lock until release is called, but only if look succeeds: otherwise
// release does nothing. controller-runtime recovers from a panic of look, after which the lock must not stay either.
func (l *StartLock) Take(look func() error) (release func(), err error) {
	l.mutex.Lock()
	keep := false
	defer func() {
		if !keep {
			l.mutex.Unlock()
		}
	}()
	if err := look(); err != nil {
		return func() {}, err
	}
	keep = true
	return l.mutex.Unlock, nil
}
