package v1alpha1

// Damaged reports whether the integrity of a Repository, of a Snapshot or of a component says that data is gone. It
// is not known to be gone if integrity is nil: nobody has looked yet.
func Damaged(integrity *bool) bool { return integrity != nil && !*integrity }
