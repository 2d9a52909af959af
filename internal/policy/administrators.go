package policy

import "slices"

// Administrators are the namespaces of the cluster's administrators. What lies there can count for other namespaces
// without their word: a default, or a Ledger that records them. The zero value has none.
type Administrators []string

// Has reports whether a namespace is one of the administrators'.
func (a Administrators) Has(namespace string) bool { return slices.Contains(a, namespace) }
