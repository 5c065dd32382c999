package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Metrics of the engine. Safe for concurrent use.
type Metrics struct {
	runs        *prometheus.GaugeVec
	ended       *prometheus.CounterVec
	queued      prometheus.Gauge
	waiting     prometheus.Gauge
	agents      prometheus.Gauge
	batch       prometheus.Histogram
	commitTime  prometheus.Histogram
	lost        prometheus.Counter
	dispatch    prometheus.Histogram
	submissions prometheus.Counter
}

// NewMetrics makes the metrics and registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		runs:        prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "slipway_runs", Help: "Live runs by state."}, []string{"state"}),
		ended:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_runs_ended_total", Help: "Runs that ended, by final state."}, []string{"state"}),
		queued:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_jobs_queued", Help: "Jobs that want an agent."}),
		waiting:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_engine_mailbox", Help: "Events that wait for the engine."}),
		agents:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_agents_online", Help: "Agents with a session."}),
		lost:        prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_attempts_lost_total", Help: "Attempts whose agent was gone."}),
		submissions: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_runs_submitted_total", Help: "Runs accepted."}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "slipway_commit_batch_transitions", Help: "Transitions in a transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 8)}),
		commitTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "slipway_commit_seconds", Help: "From proposal to definite outcome of a transaction.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		dispatch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "slipway_job_queued_seconds", Help: "From queued to offered.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 20)}),
	}
	if reg != nil {
		reg.MustRegister(m.runs, m.ended, m.queued, m.waiting, m.agents, m.batch, m.commitTime, m.lost, m.dispatch, m.submissions)
	}
	return m
}

func (m *Metrics) onBatch(size int, d time.Duration) {
	m.batch.Observe(float64(size))
	m.commitTime.Observe(d.Seconds())
}

func (m *Metrics) runMoved(from, to corev1.RunState, terminal bool) {
	if from != corev1.RunState_RUN_STATE_UNSPECIFIED {
		m.runs.WithLabelValues(stateWord(from)).Dec()
	}
	if terminal {
		m.ended.WithLabelValues(stateWord(to)).Inc()
		return
	}
	m.runs.WithLabelValues(stateWord(to)).Inc()
}
