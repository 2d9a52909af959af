// Package session is the state machine of a BackupSession and of a RestoreSession, as pure functions over values: what a
// target's workload means in hosts and volumes, and what to do next, given what was observed. It reads no clock and
// talks to no API server; controllers/backupsession and controllers/restoresession do both.
package session
