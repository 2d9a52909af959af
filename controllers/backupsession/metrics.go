package backupsession

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the measurements of copies that were left behind. A nil *Metrics measures nothing.
type Metrics struct {
	found   prometheus.Gauge
	removed prometheus.Counter
}

// NewMetrics registers cairn_copy_leftovers and cairn_copy_leftovers_removed_total.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		found: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cairn_copy_leftovers", Help: "Temporary volumes of ended BackupSessions that were found at the last look, those that are being deleted among them.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cairn_copy_leftovers_removed_total", Help: "Temporary volumes that ended BackupSessions left behind and that were removed.",
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
