package retain

import "github.com/prometheus/client_golang/prometheus"

// Metrics of retention; docs/metrics.md says what they mean.
type Metrics struct {
	expired               *prometheus.CounterVec
	removed, removedBytes prometheus.Counter
	bytes, quota          prometheus.Gauge
}

// NewMetrics registers the metrics, if r is not nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		expired:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_runs_expired_total", Help: "Finished runs that were removed, by the rule that said so: days, runs, size or quota."}, []string{"rule"}),
		removed:      prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_blobs_removed_total", Help: "Blobs removed because nothing referred to them."}),
		removedBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_blobs_removed_bytes_total", Help: "Their bytes."}),
		bytes:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_blobs_bytes", Help: "Bytes of all blobs when retention last looked."}),
		quota:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_blobs_quota_bytes", Help: "Bytes that blobs may have before finished runs expire; 0 is without a bound."}),
	}
	for _, rule := range []string{ByDays, ByRuns, BySize, ByQuota} {
		m.expired.WithLabelValues(rule)
	}
	if r != nil {
		r.MustRegister(m.expired, m.removed, m.removedBytes, m.bytes, m.quota)
	}
	return m
}
