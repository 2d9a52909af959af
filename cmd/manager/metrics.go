package main

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// scrapeTimeout bounds the wait for a cache that is not filled yet.
const scrapeTimeout = 2 * time.Second

// readyCollector reports at each scrape which objects are ready. It reads the cache and gives one series for each
// existing object. Flux's recorder does the same for kinds with few objects. It keeps about ten series (10 KiB) for
// each object in memory, and never drops the series of an object that was deleted without a finalizer.
type readyCollector struct {
	reader client.Reader
	desc   *prometheus.Desc
}

// newReadiness returns a readyCollector that reads from reader, which is the cache. Names and labels of the series are
// Flux's.
func newReadiness(reader client.Reader) *readyCollector {
	return &readyCollector{reader, prometheus.NewDesc("gotk_reconcile_condition",
		"The current condition status of a GitOps Toolkit resource reconciliation.",
		[]string{"kind", "name", "namespace", "type", "status"}, nil)}
}

// Describe announces nothing: Flux's recorder has announced the name already.
func (r *readyCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the series. It skips a kind that can't be read.
func (r *readyCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var storages v1alpha1.BackupStorageList
	if r.list(ctx, &storages) {
		collect(r, out, v1alpha1.BackupStorageKind, storages.Items)
	}
	var repositories v1alpha1.RepositoryList
	if r.list(ctx, &repositories) {
		collect(r, out, v1alpha1.RepositoryKind, repositories.Items)
	}
	var configurations v1alpha1.BackupConfigurationList
	if r.list(ctx, &configurations) {
		collect(r, out, v1alpha1.BackupConfigurationKind, configurations.Items)
	}
	var batches v1alpha1.BackupBatchList
	if r.list(ctx, &batches) {
		collect(r, out, v1alpha1.BackupBatchKind, batches.Items)
	}
}

func (r *readyCollector) list(ctx context.Context, list client.ObjectList) bool {
	return r.reader.List(ctx, list, client.UnsafeDisableDeepCopy) == nil
}

func collect[T any, P interface {
	*T
	conditions.Getter
}](r *readyCollector, out chan<- prometheus.Metric, kind string, items []T) {
	for i := range items {
		o := P(&items[i])
		if v1alpha1.HasRecordAnnotation(o.GetAnnotations()) {
			continue
		}
		status := metav1.ConditionUnknown
		if c := conditions.Get(o, meta.ReadyCondition); c != nil {
			status = c.Status
		}
		out <- prometheus.MustNewConstMetric(r.desc, prometheus.GaugeValue, 1, kind, o.GetName(), o.GetNamespace(),
			meta.ReadyCondition, string(status))
	}
}
