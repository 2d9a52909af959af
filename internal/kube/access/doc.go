// Package access gives movers what they need in the namespace they run in, and no more: a ServiceAccount with one
// RoleBinding, and the credentials of one storage and one repository. Its functions are safe for concurrent use.
// Invariants: credentials cross a namespace only where the usagePolicy of the storage allows it at that moment, and no
// error holds the value of a Secret.
package access
