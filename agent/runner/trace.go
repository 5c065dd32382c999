package runner

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/internal/spans"
)

// span is what the attempt's span tells.
func (t *Attempt) span() spans.Attempt {
	return spans.Attempt{
		RunID: t.a.GetRunId(), JobID: t.a.GetJobId(), JobName: t.a.GetJobName(), ID: t.id, Number: t.a.GetAttempt(), AgentID: t.d.AgentName,
		Hostname: t.d.Hostname, Queued: time.Duration(t.a.GetQueuedForMs()) * time.Millisecond, Parent: spans.Parse(t.a.GetTraceparent()), Job: t.a.GetJob(),
	}
}

// openTrace decides, as every process that drives the attempt does again, whether it is traced.
func (t *Attempt) openTrace() {
	if t.d.Tracer == nil {
		return
	}
	if sc, recorded := t.span().Span().Context(t.d.Tracer); recorded {
		t.traced = sc
	}
}

// stepContext is the span of a step, which is sent when the attempt is settled; not valid if the attempt is not traced.
func (t *Attempt) stepContext(n uint32) trace.SpanContext {
	if !t.traced.IsValid() {
		return trace.SpanContext{}
	}
	return t.traced.WithSpanID(spans.StepSpan(t.id, n))
}

// withStep makes what the agent itself does for a step, such as its calls, children of the step's span.
func (t *Attempt) withStep(ctx context.Context, n uint32) context.Context {
	if sc := t.stepContext(n); sc.IsValid() {
		return trace.ContextWithSpanContext(ctx, sc)
	}
	return ctx
}

// traceparent is what a step's processes are told: their step, or, if this agent traces nothing, what it was told itself.
func (t *Attempt) traceparent(n uint32) string {
	if sc := t.stepContext(n); sc.IsValid() {
		return spans.Format(sc)
	}
	return t.a.GetTraceparent()
}

// recordSpans sends the spans of the attempt and of its steps. It is done once, just before the attempt is forgotten, from the
// record: however many processes drove the attempt, each span is sent by the last one.
func (t *Attempt) recordSpans() {
	if !t.traced.IsValid() {
		return
	}
	r := t.report()
	start := time.UnixMilli(t.p.StartedMS)
	end := start
	for _, s := range r.GetSteps() {
		end = later(end, start.Add(time.Duration(s.GetEndedMs())*time.Millisecond))
	}
	result := spans.ResultOf(r.GetResult(), r.GetFailure())
	if r.GetTimedOut() {
		result = spans.Timeout
	}
	t.span().Record(t.d.Tracer, start, end, result, r.GetFailure(), r.GetSteps())
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
