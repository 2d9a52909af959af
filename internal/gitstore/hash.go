package gitstore

import "github.com/go-git/go-git/v5/plumbing"

// Hash names a commit. The zero value names none.
type Hash = plumbing.Hash

// NewHash returns the Hash that is written as 40 hexadecimal digits.
func NewHash(s string) Hash {
	return plumbing.NewHash(s)
}
