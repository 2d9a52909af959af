// Package mover is what runs in the pods of Jobs: it initialises storages and repositories, backs volumes up and restores
// them, and creates BackupSessions in the pods of CronJobs. What it is told and what it answers is package task.
package mover
