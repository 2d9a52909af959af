// Package task turns frozen sessions into Jobs and reads back how they went. It defines the mover's contract: its work
// order (Task), its answer (Result, exit codes) and the paths in its container. It is pure. Invariants: everything that
// a Job needs is in the input, equal inputs give equal Jobs, and no Task holds a credential.
package task
