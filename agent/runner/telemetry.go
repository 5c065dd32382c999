package runner

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/agent/state"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Metrics of an agent's attempts. A nil *Metrics counts nothing.
type Metrics struct {
	attempts *prometheus.CounterVec
	steps    *prometheus.CounterVec
	seconds  prometheus.Histogram
	between  prometheus.Histogram
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
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_agent_log_bytes_total", Help: "Log bytes sent, repeats included."}),
	}
	r.MustRegister(m.attempts, m.steps, m.seconds, m.between, m.bytes)
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

func (m *Metrics) logBytes(n int) {
	if m != nil {
		m.bytes.Add(float64(n))
	}
}

// startSpan begins the attempt's span, a child of the one that the coordinator named. A restarted agent begins another.
func (t *Attempt) startSpan(ctx context.Context) {
	carrier := propagation.MapCarrier{"traceparent": t.a.GetTraceparent()}
	ctx = propagation.TraceContext{}.Extract(ctx, carrier)
	_, t.span = t.d.Tracer.Start(ctx, "job "+t.a.GetJobId(), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("cicd.pipeline.run.id", t.a.GetRunId()),
		attribute.String("cicd.pipeline.task.name", t.a.GetJobName()),
		attribute.String("cicd.pipeline.task.run.id", t.id),
		attribute.String("cicd.worker.name", t.d.AgentName),
		attribute.Bool("slipway.resumed", t.resumed),
	))
}

// traceparent begins the span of the step that comes next, and returns what its processes are told.
func (t *Attempt) traceparent(name string) string {
	ctx := trace.ContextWithSpan(context.Background(), t.span)
	ctx, t.nextSpan = t.d.Tracer.Start(ctx, "step "+name)
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if tp := carrier["traceparent"]; tp != "" {
		return tp
	}
	return t.a.GetTraceparent()
}

// stepSpan returns the span that traceparent began, or begins one for a step that this process did not start.
func (t *Attempt) stepSpan(rec *state.Step) trace.Span {
	span := t.nextSpan
	t.nextSpan = nil
	if span == nil {
		_, span = t.d.Tracer.Start(trace.ContextWithSpan(context.Background(), t.span), "step "+rec.Name)
	}
	span.SetAttributes(attribute.Int("slipway.step.number", int(rec.Number)), attribute.String("cicd.pipeline.task.name", rec.Name))
	return span
}

func endSpan(span trace.Span, rec *state.Step) {
	if rec.Outcome != corev1.Result_RESULT_UNSPECIFIED {
		span.SetAttributes(attribute.String("cicd.pipeline.task.run.result", word(rec.Outcome)), attribute.Int("process.exit.code", int(rec.ExitCode)))
	}
	if rec.Outcome == corev1.Result_RESULT_FAILURE {
		span.SetStatus(codes.Error, rec.Name)
	}
	span.End()
}
