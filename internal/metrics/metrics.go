// Package metrics says at each scrape what the cache knows of backups and restores. Nothing is counted in memory: a restarted
// manager says the same, and what was deleted is gone.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metric is one that the manager serves, as the reference documents it.
type Metric struct {
	// Name, Help and Labels as a scrape has them. All are gauges.
	Name, Help string
	Labels     []string
}

// Labels of the metrics of a session of a policy, of a repository, and of restores.
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

// All are the metrics that a Collector gives, in the order of the reference.
func All() []Metric {
	return []Metric{
		{sessionLastSuccess, "End of the last run of a session that succeeded.", ofSession},
		{sessionNextRun, "Next slot of a session's schedule.", ofSession},
		{sessionLate, "How long a success of a session with a schedule is overdue: the run of the slot after the last success, or after the schedule " +
			"came into force, has not succeeded within its timeout. 0 is in time.", ofSession},
		{backupSessions, "BackupSessions that exist, by phase and reason.", append(ofSession[:4:4], "phase", "reason")},
		{backupDuration, "Duration of the newest run of a session that ended.", ofSession},
		{snapshots, "Snapshots that exist, by phase.", append(ofRepository[:2:2], "phase")},
		{snapshotSize, "What the newest Snapshot of a repository that succeeded restores to.", ofRepository},
		{snapshotUploaded, "What the newest Snapshot of a repository that succeeded has added to it.", ofRepository},
		{repositoryLastBackup, "Time of the newest Snapshot of a repository that succeeded.", ofRepository},
		{repositorySize, "What a repository held in the backend when it was maintained last. There is none before that.", ofRepository},
		{repositoryIntegrity, "1 where the last check of a repository found everything that it needs, 0 where something is missing or damaged. There is none " +
			"before it was checked.", ofRepository},
		{repositoryMaintained, "When a repository was maintained last, by sort: quick, or full, which checks it.", append(ofRepository[:2:2], "maintenance")},
		{restoreSessions, "RestoreSessions that exist, by phase and reason.", []string{"namespace", "phase", "reason"}},
		{restoreDuration, "Duration of the newest restore of a target that ended. The target is <kind>/<name>.", ofTarget},
		{restoreBatches, "RestoreBatches that exist, by phase and reason.", []string{"namespace", "phase", "reason"}},
		{restoreBatchDuration, "Duration of the newest RestoreBatch of a BackupBatch that ended.", []string{"namespace", "batch"}},
	}
}

func descriptions(all []Metric) map[string]*prometheus.Desc {
	out := map[string]*prometheus.Desc{}
	for _, m := range all {
		out[m.Name] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}
	return out
}
