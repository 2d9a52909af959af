package backupsession

import "github.com/prometheus/client_golang/prometheus"

// Metrics measures leftover copies. A nil *Metrics measures nothing.
type Metrics struct {
	found   prometheus.Gauge
	removed prometheus.Counter
}

// NewMetrics registers cairn_copy_leftovers and cairn_copy_leftovers_removed_total.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		found: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cairn_copy_leftovers",
			Help: "Temporary volumes of ended BackupSessions that the last sweep found, including those that are " +
				"being deleted.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cairn_copy_leftovers_removed_total",
			Help: "Temporary volumes of ended BackupSessions that sweeps removed.",
		}),
	}
	registry.MustRegister(m.found, m.removed)
	return m
}

func (m *Metrics) setFound(n int) {
	if m != nil {
		m.found.Set(float64(n))
	}
}

func (m *Metrics) addRemoved(n int) {
	if m != nil {
		m.removed.Add(float64(n))
	}
}
