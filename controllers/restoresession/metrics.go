package restoresession

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the measurements of what restores left behind. A nil *Metrics measures nothing.
type Metrics struct {
	removed prometheus.Counter
}

// NewMetrics registers cairn_borrowed_volumesnapshots_removed_total.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{removed: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cairn_borrowed_volumesnapshots_removed_total",
		Help: "VolumeSnapshots of another namespace that a restore had borrowed and left behind, and that were given back.",
	})}
	registry.MustRegister(m.removed)
	return m
}

func (m *Metrics) addRemoved() {
	if m != nil {
		m.removed.Inc()
	}
}
