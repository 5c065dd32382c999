package archive

import "github.com/prometheus/client_golang/prometheus"

// Metrics of sealing; docs/metrics.md says what they mean.
type Metrics struct {
	sealed  prometheus.Counter
	pending prometheus.Gauge
	bytes   prometheus.Counter
	gaps    prometheus.Counter
}

// NewMetrics registers the metrics, if r is not nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		sealed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_runs_sealed_total", Help: "Finished runs that became a bundle and left the store."}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_runs_unsealed", Help: "Finished runs that are still in the store."}),
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_seal_bytes_total", Help: "Bytes of bundles and packed logs written."}),
		gaps:    prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_seal_log_gaps_total", Help: "Logs that were sealed though bytes of them never came."}),
	}
	if r != nil {
		r.MustRegister(m.sealed, m.pending, m.bytes, m.gaps)
	}
	return m
}
