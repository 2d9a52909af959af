// Package access gives movers what they need in the namespace they run in, and no more: the ServiceAccount with its one
// RoleBinding, and the credentials of one storage and one repository.
package access
