// Package mover is the program that runs in the pods of Jobs and in sidecars. It initialises storages and
// repositories, backs up and restores volumes and streams, and keeps repositories in order. In the pods of CronJobs
// it creates BackupSessions. Package task defines its input and output.
//
// Concurrency: a Mover does one task in one goroutine. A Sidecar does one assignment at a time, while watches fill
// its board from other goroutines.
//
// Invariants: no credential and no name of a user's file appears in a log line, a message or a Result. Only an init
// task creates a repository.
package mover
