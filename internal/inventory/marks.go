package inventory

import (
	"errors"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// consents are what two bits say of the consent to the removal of an entry.
var consents = [4]string{1: v1alpha1.ConsentNeeded, 2: v1alpha1.ConsentGiven}

// errMarks means that a packed inventory does not say which objects need a consent.
var errMarks = errors.New("its header does not match its objects")

// marks returns the consents of entries, four to a byte, or nothing if none has any. They go into the header of the
// gzip file, which earlier versions do not look at: they can read the inventory.
func marks(entries []v1alpha1.ResourceRef) []byte {
	out, some := make([]byte, (len(entries)+3)/4), false
	for i, e := range entries {
		for bits, consent := range consents {
			if consent != "" && e.Consent == consent {
				out[i/4] |= byte(bits << (i % 4 * 2))
				some = true
			}
		}
	}
	if !some {
		return nil
	}
	return out
}

// mark sets the consents of entries.
func mark(entries []v1alpha1.ResourceRef, bits []byte) error {
	switch {
	case len(bits) == 0:
		return nil
	case len(bits) != (len(entries)+3)/4:
		return errMarks
	}
	for i := range entries {
		entries[i].Consent = consents[bits[i/4]>>(i%4*2)&3]
	}
	return nil
}
