// Package metrics reports at each scrape what the cache knows about backups and restores. Its collectors are safe for
// concurrent use. Invariant: nothing is counted in memory, so a restarted manager reports the same, and a deleted
// object leaves no series.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metric describes a metric of the manager, as a scrape and the reference show it.
type metric struct {
	// Name, Help and Labels of the metric. All metrics are gauges.
	Name, Help string
	Labels     []string
}

// Labels of the metrics of a policy's session, of a repository, and of a target's restores.
var (
	ofSession    = []string{"namespace", "kind", "name", "session"}
	ofRepository = []string{"namespace", "repository"}
	ofTarget     = []string{"namespace", "target"}
)

// Names of the metrics.
const (
	sessionLastSuccess   = "cairn_session_last_success_timestamp_seconds"
	sessionNextRun       = "cairn_session_next_run_timestamp_seconds"
	sessionLate          = "cairn_session_late_seconds"
	backupSessions       = "cairn_backup_sessions"
	backupDuration       = "cairn_backup_duration_seconds"
	snapshots            = "cairn_snapshots"
	snapshotSize         = "cairn_snapshot_size_bytes"
	snapshotUploaded     = "cairn_snapshot_uploaded_bytes"
	repositoryLastBackup = "cairn_repository_last_backup_timestamp_seconds"
	repositorySize       = "cairn_repository_size_bytes"
	repositoryIntegrity  = "cairn_repository_integrity"
	repositoryMaintained = "cairn_repository_last_maintenance_timestamp_seconds"
	restoreSessions      = "cairn_restore_sessions"
	restoreDuration      = "cairn_restore_duration_seconds"
	restoreBatches       = "cairn_restore_batches"
	restoreBatchDuration = "cairn_restore_batch_duration_seconds"
)

// all returns the metrics of a Collector, in the order of the reference.
func all() []metric {
	return []metric{
		{sessionLastSuccess, "End of the last successful run of a session. For a retry it is the slot of the run " +
			"that began its restore point.", ofSession},
		{sessionNextRun, "Next slot of a session's schedule.", ofSession},
		{
			sessionLate,
			"How long the next success of a scheduled session is overdue: the run of the slot after the last " +
				"success, or after the schedule came into force, has not succeeded within its timeout, or within " +
				"6 hours if it has none. A slot that had passed before the schedule changed counts only once the " +
				"last success is older than one period of the present schedule. 0 means in time.", ofSession,
		},
		{backupSessions, "BackupSessions that exist, by phase and reason.", append(ofSession[:4:4], "phase", "reason")},
		{backupDuration, "Duration of the last run of a session that ended.", ofSession},
		{snapshots, "Snapshots that exist, by phase.", append(ofRepository[:2:2], "phase")},
		{snapshotSize, "Size of the data that the last successful Snapshot of a repository restores.", ofRepository},
		{snapshotUploaded, "Size of the data that the last successful Snapshot added to its repository.", ofRepository},
		{repositoryLastBackup, "Time of the last successful Snapshot of a repository.", ofRepository},
		{
			repositorySize,
			"Size of a repository in the backend at its last maintenance. There is no series before that.",
			ofRepository,
		},
		{
			repositoryIntegrity,
			"1 if the last check of a repository found all of its data, 0 if data is missing or damaged. There is no " +
				"series " +
				"before the first check.", ofRepository,
		},
		{
			repositoryMaintained,
			"Time of the last maintenance of a repository, by kind: quick, or full, which also checks the repository.",
			append(ofRepository[:2:2], "maintenance"),
		},
		{restoreSessions, "RestoreSessions that exist, by phase and reason.", []string{"namespace", "phase", "reason"}},
		{
			restoreDuration, "Duration of the last restore of a target that ended. The target is <kind>/<name>.",
			ofTarget,
		},
		{restoreBatches, "RestoreBatches that exist, by phase and reason.", []string{"namespace", "phase", "reason"}},
		{
			restoreBatchDuration, "Duration of the last RestoreBatch of a BackupBatch that ended.", []string{
				"namespace", "batch",
			},
		},
	}
}

func descriptions(all []metric) map[string]*prometheus.Desc {
	out := map[string]*prometheus.Desc{}
	for _, m := range all {
		out[m.Name] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}
	return out
}
