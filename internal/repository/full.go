package repository

import (
	"errors"
	"fmt"
	"syscall"
)

// TargetFull is the error of a target of a restore that has no room for an entry, although nothing else is written.
type TargetFull struct {
	// Needs is the size of the entry, and Left the room that the target says to have, in bytes. A negative one is not
	// known.
	Needs, Left int64
	// Links says that files with several names (hard links) were replaced. An old one takes room until all its names
	// are.
	Links bool
	// Err is the error of the system.
	Err error
}

// Error implements error.
func (e *TargetFull) Error() string {
	return fmt.Sprintf("%v (bytes needed: %d, left: %d)", e.Err, e.Needs, e.Left)
}

// Unwrap returns the error of the system.
func (e *TargetFull) Unwrap() error { return e.Err }

// IsFull reports whether an error says that a file system is full, or a quota used up.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
