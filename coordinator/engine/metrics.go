package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
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
	runTime     *prometheus.HistogramVec
	jobs        *prometheus.CounterVec
	jobTime     *prometheus.HistogramVec
	rejected    prometheus.Counter
	term        prometheus.Gauge
	demand      demandMetrics
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
		runTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "slipway_run_seconds", Help: "From submit to the end of a run, by final state.",
			Buckets: endBuckets}, []string{"state"}),
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_jobs_ended_total", Help: "Jobs that ended, by final state."}, []string{"state"}),
		jobTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "slipway_job_seconds", Help: "From the start to the end of a job, by final state.",
			Buckets: endBuckets}, []string{"state"}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_offers_rejected_total", Help: "Attempts that an agent refused."}),
		term:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_leading", Help: "1 while this coordinator leads."}),
		demand:   newDemandMetrics(),
	}
	if reg != nil {
		reg.MustRegister(m.runs, m.ended, m.queued, m.waiting, m.agents, m.batch, m.commitTime, m.lost, m.dispatch, m.submissions, m.runTime, m.jobs, m.jobTime,
			m.rejected, m.term)
		reg.MustRegister(m.demand.all()...)
	}
	return m
}

// endBuckets reach from a tenth of a second to nearly four hours.
var endBuckets = prometheus.ExponentialBuckets(0.1, 2, 18)

// begin is for a new leader: what the last one in this process saw is not added to.
func (m *Metrics) begin() {
	m.runs.Reset()
	m.agents.Set(0)
}

// leave is for a leader that is none any more.
func (m *Metrics) leave() {
	m.runs.Reset()
	m.demand.set(nil, 0)
	for _, g := range []prometheus.Gauge{m.queued, m.waiting, m.agents, m.term} {
		g.Set(0)
	}
}

// runEnded takes the times of a run, in Unix milliseconds.
func (m *Metrics) runEnded(h *statev1.RunHeader) {
	m.runTime.WithLabelValues(stateWord(h.GetState())).Observe(float64(h.GetEndedMs()-h.GetCreatedMs()) / 1000)
}

// jobMoved counts a job that ended.
func (m *Metrics) jobMoved(from corev1.JobState, rec *statev1.JobRecord) {
	if !lifecycle.Job.IsTerminal(rec.GetState()) || lifecycle.Job.IsTerminal(from) || rec.GetKeptFrom() != "" {
		return
	}
	state := jobStateWord(rec.GetState())
	m.jobs.WithLabelValues(state).Inc()
	if rec.GetStartedMs() > 0 {
		m.jobTime.WithLabelValues(state).Observe(float64(rec.GetEndedMs()-rec.GetStartedMs()) / 1000)
	}
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
