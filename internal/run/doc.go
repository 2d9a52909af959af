// Package run holds what the decisions about BackupSessions, RestoreSessions and RestoreBatches share: Jobs as they
// were observed, conditions, events, the names of movers, and the sidecars that have work. The decisions about each
// kind are in the packages backup, restore and restorebatch; those about hooks are in hookround (their order) and
// hookstage (their attempts).
//
// All functions are pure: values go in, values come out. The package has no state, reads no clock and talks to no API
// server, so every function is safe for concurrent use. controllers/backupsession, controllers/restoresession and
// controllers/restorebatch observe the cluster, call these packages and carry their decisions out.
//
// Invariants: the outcome of a run or restore that has ended never changes again. Once it is frozen into
// status.resolved, later steps read only what was frozen and what was observed. Each decision can be repeated: a
// manager that is killed in the middle of one continues.
package run
