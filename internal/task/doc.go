// Package task turns frozen sessions into Jobs and reads back how they went. It holds the mover's contract: what a mover is
// told (Task), what it answers (Result, exit codes) and where in its container everything lies. It is pure: everything that
// a Job needs is in the input, and equal inputs give equal Jobs.
package task
