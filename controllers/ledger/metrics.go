package ledger

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Metrics measures Ledgers. A nil *Metrics measures nothing.
type Metrics struct {
	pending  *prometheus.GaugeVec
	pushes   *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics registers cairn_ledger_pending_records, cairn_ledger_push_total and cairn_ledger_push_duration_seconds.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cairn_ledger_pending_records",
			Help: "Records that wait in the outbox of a Ledger, or to get into it.",
		}, []string{"namespace", "name"}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cairn_ledger_push_total", Help: "Attempts to bring a Ledger's branch up to date, by result.",
		}, []string{"namespace", "name", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cairn_ledger_push_duration_seconds",
			Help:    "Duration of attempts to bring a Ledger's branch up to date.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"namespace", "name"}),
	}
	registry.MustRegister(m.pending, m.pushes, m.duration)
	return m
}

func (m *Metrics) setPending(l *v1alpha1.Ledger, n int) {
	if m != nil {
		m.pending.WithLabelValues(l.Namespace, l.Name).Set(float64(n))
	}
}

// pushed counts an attempt to push. result is a word of a closed set.
func (m *Metrics) pushed(l *v1alpha1.Ledger, result string, d time.Duration) {
	if m != nil {
		m.pushes.WithLabelValues(l.Namespace, l.Name, result).Inc()
		m.duration.WithLabelValues(l.Namespace, l.Name).Observe(d.Seconds())
	}
}

func (m *Metrics) forget(namespace, name string) {
	if m != nil {
		l := prometheus.Labels{"namespace": namespace, "name": name}
		m.pending.Delete(l)
		m.pushes.DeletePartialMatch(l)
		m.duration.Delete(l)
	}
}
