package metrics

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// KubeStashCollector collects the metrics of KubeStash from a cache, with its names and labels. It is safe for
// concurrent use.
type KubeStashCollector struct{ *Collector }

// NewKubeStashCollector returns a KubeStashCollector that reads with reader, which is the cache.
func NewKubeStashCollector(reader client.Reader, clock clock.PassiveClock) KubeStashCollector {
	return KubeStashCollector{&Collector{reader: reader, clock: clock, descs: descriptions(kubeStash())}}
}

// Prefixes of the names.
const (
	ofConfigurations  = "core_kubestash_com_backupconfiguration_"
	ofBackupSessions  = "core_kubestash_com_backupsession_"
	ofRestoreSessions = "core_kubestash_com_restoresession_"
	ofStorages        = "storage_kubestash_com_backupstorage_"
	ofRepositories    = "storage_kubestash_com_repository_"
	ofSnapshots       = "storage_kubestash_com_snapshot_"
)

// Labels that all metrics of a kind have. Namespace, kind and name belong to the object itself.
var (
	itself   = []string{"namespace", "invoker_kind", "invoker_name"}
	target   = []string{"target_kind", "target_name", "target_namespace"}
	ofItself = map[string][]string{
		ofConfigurations:  slices.Concat([]string{"namespace", "backup_invoker_kind", "backup_invoker_name"}, target),
		ofBackupSessions:  slices.Concat(itself, []string{"backup_invoker_kind", "backup_invoker_name"}),
		ofRestoreSessions: slices.Concat(itself, target),
		ofStorages:        itself,
		ofRepositories:    slices.Concat(itself, target),
		ofSnapshots:       slices.Concat(itself, target),
	}
)

// kubeStash returns the metrics of a KubeStashCollector, in the order of the reference.
func kubeStash() []metric {
	var out []metric
	add := func(prefix, name, help string, labels ...string) {
		out = append(out, metric{prefix + name, help, slices.Concat(ofItself[prefix], labels)})
	}
	general := func(prefix, kind string, info ...string) {
		add(prefix, "created", "When the "+kind+" was created, in seconds since 1970.")
		add(prefix, "info", "1 for each "+kind+" that exists.", info...)
		add(prefix, "phase", "1 for the phase of the "+kind+", 0 for each other phase.", "phase")
		add(prefix, "conditions", "1 for each condition of the "+kind+" with its status.", "condition", "status")
	}
	general(ofConfigurations, v1alpha1.BackupConfigurationKind)
	add(ofConfigurations, "sessions", "1 for each session of a BackupConfiguration.", "session_name", "schedule",
		"addon_name")
	general(ofBackupSessions, v1alpha1.BackupSessionKind, "session", "phase")
	add(ofBackupSessions, "duration_seconds", "Duration of a BackupSession that ended.")
	add(ofBackupSessions, "snapshots", "1 for each Snapshot of a BackupSession.",
		"snapshot_name", "snapshot_phase", "repository", "backedup_app_kind", "backedup_app_name",
		"backedup_app_namespace")
	general(ofRestoreSessions, v1alpha1.RestoreSessionKind, "datasource_namespace", "repository", "snapshot",
		"addon_name", "phase")
	add(ofRestoreSessions, "duration_seconds", "Duration of a RestoreSession that ended.")
	add(ofRestoreSessions, "component_count_total", "Components of a RestoreSession.")
	general(ofStorages, v1alpha1.BackupStorageKind, "provider", "default", "deletionPolicy", "phase")
	add(ofStorages, "size_bytes", "Size of the repositories of a BackupStorage at their last maintenance.")
	add(ofStorages, "repository_size_bytes", "The same for each repository.", "repo_name", "repo_namespace",
		"repo_path")
	general(ofRepositories, v1alpha1.RepositoryKind, "path", "phase", "integrity")
	add(ofRepositories, "last_successful_backup", "When the last successful backup ended, in seconds since 1970.")
	add(ofRepositories, "size_bytes", "Size of a Repository at its last maintenance.")
	add(ofRepositories, "snapshot_count_total", "Snapshots that succeeded.")
	general(ofSnapshots, v1alpha1.SnapshotKind, "snapshot_type", "repository", "session", "backupsession", "version",
		"phase", "integrity")
	add(ofSnapshots, "size_bytes", "Size of the data that a Snapshot restores.")
	add(ofSnapshots, "time_seconds", "When a Snapshot was complete, in seconds since 1970.")
	add(ofSnapshots, "component_count_total", "Components of a Snapshot.")
	return out
}

// Collect sends the series. A kind that cannot be read has none.
func (c KubeStashCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s := &scrape{Collector: c.Collector, out: out, now: c.clock.Now()}
	s.theirConfigurations(ctx)
	s.theirBackups(ctx)
	s.theirRestores(ctx)
	s.theirStorages(ctx)
	s.theirSnapshots(ctx)
}

// kubestashObject is an object in the form of KubeStash's metrics.
type kubestashObject struct {
	*scrape
	prefix string
	labels []string
}

func (t kubestashObject) give(name string, value float64, labels ...string) {
	t.scrape.give(t.prefix+name, value, slices.Concat(t.labels, labels)...)
}

// general reports the series that all kinds have.
func (t kubestashObject) general(
	o client.Object, conditions []metav1.Condition, phases []string, phase string, info ...string,
) {
	t.give("created", float64(o.GetCreationTimestamp().Unix()))
	t.give("info", 1, info...)
	for _, p := range phases {
		t.give("phase", truth(p == phase), p)
	}
	for _, c := range conditions {
		t.give("conditions", 1, c.Type, string(c.Status))
	}
}

// took reports the duration of an object that ended.
func (t kubestashObject) took(from, until *metav1.Time) {
	if from != nil && until != nil {
		t.give("duration_seconds", until.Sub(from.Time).Round(time.Second).Seconds())
	}
}

// referenced returns the labels of a target.
func referenced(r v1alpha1.TypedObjectReference, namespace string) []string {
	return []string{r.Kind, r.Name, cmp.Or(r.Namespace, namespace)}
}

// known formats a boolean that can be unknown as a label.
func known(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "true"
	}
	return "false"
}
