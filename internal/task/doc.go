// Package task defines the mover's contract: its work order (Task), its answer (Result, exit codes) and the paths in
// its container. It is pure. Invariant: no Task holds a credential. Package moverjob makes the Jobs, and observe reads
// back how they went.
package task
