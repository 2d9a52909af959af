package metrics

import (
	"context"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ReadyCollector reports at each scrape which objects are ready. It reads the cache and gives one series for each
// existing object. Flux's recorder does the same for kinds with few objects. That recorder keeps about ten series
// (10 KiB) for each object in memory, and never drops the series of an object that was deleted without a finalizer.
type ReadyCollector struct {
	reader client.Reader
	desc   *prometheus.Desc
}

// NewReadyCollector returns a ReadyCollector that reads from reader, which is the cache. Names and labels of the series
// are those of Flux.
func NewReadyCollector(reader client.Reader) *ReadyCollector {
	return &ReadyCollector{reader, prometheus.NewDesc("gotk_reconcile_condition",
		"The current condition status of a GitOps Toolkit resource reconciliation.",
		[]string{"kind", "name", "namespace", "type", "status"}, nil)}
}

// Describe announces nothing: Flux's recorder has announced the name already.
func (r *ReadyCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the series. It skips a kind that can't be read.
func (r *ReadyCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var storages v1alpha1.BackupStorageList
	if r.list(ctx, &storages) {
		ready(r, out, v1alpha1.BackupStorageKind, storages.Items)
	}
	var repositories v1alpha1.RepositoryList
	if r.list(ctx, &repositories) {
		ready(r, out, v1alpha1.RepositoryKind, repositories.Items)
	}
	var configurations v1alpha1.BackupConfigurationList
	if r.list(ctx, &configurations) {
		ready(r, out, v1alpha1.BackupConfigurationKind, configurations.Items)
	}
	var batches v1alpha1.BackupBatchList
	if r.list(ctx, &batches) {
		ready(r, out, v1alpha1.BackupBatchKind, batches.Items)
	}
}

func (r *ReadyCollector) list(ctx context.Context, list client.ObjectList) bool {
	return r.reader.List(ctx, list, client.UnsafeDisableDeepCopy) == nil
}

func ready[T any, P interface {
	*T
	conditions.Getter
}](r *ReadyCollector, out chan<- prometheus.Metric, kind string, items []T) {
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
