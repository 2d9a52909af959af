package repository

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// unfinished is the prefix of the names that a restore gives to what is not finished. No backup takes them in, and a
// directory that holds nothing else is empty.
const unfinished = ".cairn~r-"

// RestoreMark is the name of an entry that a restore leaves in a directory until it has set the directory's attributes.
const RestoreMark = unfinished + "mark"

// NewUnfinishedName returns a name for an entry that is not whole yet. It is random: a name that can be computed could
// be that of an entry of the snapshot.
func NewUnfinishedName() string { return fmt.Sprintf("%s%016x", unfinished, rand.Uint64()) }

// IsUnfinishedName reports whether a name comes from NewUnfinishedName.
func IsUnfinishedName(name string) bool {
	digits, ok := strings.CutPrefix(name, unfinished)
	return ok && len(digits) == 16 && strings.Trim(digits, "0123456789abcdef") == ""
}

// IsOfARestore reports whether an entry of this name belongs to an unfinished restore, and not to a user.
func IsOfARestore(name string) bool { return name == RestoreMark || IsUnfinishedName(name) }
