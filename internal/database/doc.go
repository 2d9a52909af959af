// Package database finds out how to reach a database that a policy names as a target: by its Service, or by an object
// of another system that describes it. It is pure: the caller reads the objects that it passes in. Invariant: no result
// or error holds a credential.
package database
