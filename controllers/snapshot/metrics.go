package snapshot

import "github.com/prometheus/client_golang/prometheus"

// Metrics measures VolumeSnapshots. A nil *Metrics measures nothing.
type Metrics struct {
	alone   prometheus.Gauge
	removed prometheus.Counter
}

// NewMetrics registers cairn_volumesnapshots_without_snapshot and cairn_volumesnapshot_leftovers_removed_total.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		alone: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cairn_volumesnapshots_without_snapshot",
			Help: "VolumeSnapshots that Cairn made and whose Snapshot no longer exists.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cairn_volumesnapshot_leftovers_removed_total",
			Help: "VolumeSnapshots that were removed because they never became a backup.",
		}),
	}
	registry.MustRegister(m.alone, m.removed)
	return m
}

func (m *Metrics) setAlone(n int) {
	if m != nil {
		m.alone.Set(float64(n))
	}
}

func (m *Metrics) addRemoved(n int) {
	if m != nil {
		m.removed.Add(float64(n))
	}
}
