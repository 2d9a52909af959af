// Package database says how a database is reached that a policy names as a target: by its Service, or by an object of another
// system that tells of it. Its functions are pure: what they are given was read by the caller.
package database
