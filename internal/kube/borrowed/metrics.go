package borrowed

import "github.com/prometheus/client_golang/prometheus"

// Metrics measures what restores left behind. A nil *Metrics measures nothing.
type Metrics struct {
	Removed prometheus.Counter
}

// NewMetrics registers cairn_borrowed_volumesnapshots_removed_total.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{Removed: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cairn_borrowed_volumesnapshots_removed_total",
		Help: "VolumeSnapshots that restores borrowed from another namespace and left behind, and that sweeps removed.",
	})}
	registry.MustRegister(m.Removed)
	return m
}

func (m *Metrics) addRemoved() {
	if m != nil {
		m.Removed.Inc()
	}
}
