package repository

import (
	"hash/maphash"
	"slices"
	"sync"
)

// Kept remembers which entries a restore kept. A comparison cannot know it from the entries themselves: a restored file
// has the same time as one that was kept for being no older. The zero value holds none. Kept is safe for concurrent
// use.
type Kept struct {
	mu     sync.Mutex
	sums   []uint64 // of the paths: millions of entries can be kept
	sorted bool
}

var keptSeed = maphash.MakeSeed()

// Add adds an entry by its path in the target. It does nothing to a nil Kept.
func (k *Kept) Add(path string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sums, k.sorted = append(k.sums, maphash.String(keptSeed, path)), false
}

// Has reports whether an entry was kept. Nothing was in a nil Kept.
func (k *Kept) Has(path string) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.sorted {
		slices.Sort(k.sums)
		k.sorted = true
	}
	_, found := slices.BinarySearch(k.sums, maphash.String(keptSeed, path))
	return found
}
