// Package session decides what a BackupSession, a RestoreSession and a RestoreBatch do next.
//
// It resolves the workload of a target into hosts and volumes, and derives the next step of a run or restore from what
// was observed.
//
// All functions are pure: values go in, values come out. The package has no state, reads no clock and talks to no API
// server, so every function is safe for concurrent use. controllers/backupsession, controllers/restoresession and
// controllers/restorebatch observe the cluster, call this package and carry its decisions out.
//
// Invariants: a run or restore that has ended never changes again. Once it is frozen into status.resolved, later steps
// read only what was frozen and what was observed. Each decision can be repeated: a manager that is killed in the
// middle of one continues.
package run
