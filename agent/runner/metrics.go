package runner

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of an agent's attempts. A nil *Metrics counts nothing.
type Metrics struct {
	attempts *prometheus.CounterVec
	steps    *prometheus.CounterVec
	seconds  prometheus.Histogram
	between  prometheus.Histogram
	prepare  prometheus.Histogram
	bytes    prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_agent_attempts_total", Help: "Attempts that ended, by result."}, []string{"result"}),
		steps:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_agent_steps_total", Help: "Steps that ended, by conclusion."}, []string{"conclusion"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "slipway_agent_step_seconds", Help: "How long steps run.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 10)}),
		between: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "slipway_agent_step_overhead_seconds",
			Help: "Time from the decision to begin a run step until its start is asked for.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 12)}),
		prepare: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "slipway_agent_prepare_seconds",
			Help: "How long \"Set up job\" takes: images, network, containers, services.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 14)}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_agent_log_bytes_total", Help: "Log bytes sent, repeats included."}),
	}
	r.MustRegister(m.attempts, m.steps, m.seconds, m.between, m.prepare, m.bytes)
	return m
}

func (m *Metrics) attempt(result string) {
	if m != nil {
		m.attempts.WithLabelValues(result).Inc()
	}
}

func (m *Metrics) step(conclusion string, d time.Duration) {
	if m == nil {
		return
	}
	m.steps.WithLabelValues(conclusion).Inc()
	if conclusion != "skipped" {
		m.seconds.Observe(d.Seconds())
	}
}

func (m *Metrics) overhead(d time.Duration) {
	if m != nil {
		m.between.Observe(d.Seconds())
	}
}

func (m *Metrics) prepared(d time.Duration) {
	if m != nil {
		m.prepare.Observe(d.Seconds())
	}
}

func (m *Metrics) logBytes(n int) {
	if m != nil {
		m.bytes.Add(float64(n))
	}
}
