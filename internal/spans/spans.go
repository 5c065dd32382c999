// Package spans makes the spans of runs, jobs and steps from what is stored of them, when they have ended.
//
// Such a span outlives processes: the one that ends it need not be the one that began it. So its ids are not drawn when
// it begins; they follow from the ids of run, attempt and step, and every process computes the same. A step is told its
// own span (TRACEPARENT) long before that span is sent.
//
//	trace ── of the run's id, unless the submitter brought one
//	  run ── coordinator, when the run ends
//	   └ job attempt ── agent, when the attempt is settled; coordinator, if it was lost
//	      └ step ── with its attempt
//
// The SDK takes ids only from its IDGenerator: the tracer provider must have IDs as its generator. A nil tracer traces
// nothing.
package spans

import (
	"context"
	"crypto/sha256"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// RunTrace is the trace of a run that nobody brought a trace for.
func RunTrace(runID string) trace.TraceID {
	sum := digest("trace", runID)
	return trace.TraceID(sum[:16])
}

// RunSpan is the id of a run's span.
func RunSpan(runID string) trace.SpanID { return spanID("run", runID) }

// JobSpan is the id of the span of a job that ended without an attempt.
func JobSpan(runID, jobID string) trace.SpanID { return spanID("job", runID, jobID) }

// AttemptSpan is the id of a job attempt's span.
func AttemptSpan(attemptID string) trace.SpanID { return spanID("attempt", attemptID) }

// StepSpan is the id of the span of an attempt's step.
func StepSpan(attemptID string, number uint32) trace.SpanID {
	return spanID("step", attemptID, strconv.FormatUint(uint64(number), 10))
}

func spanID(parts ...string) trace.SpanID {
	sum := digest(parts...)
	return trace.SpanID(sum[:8])
}

func digest(parts ...string) [sha256.Size]byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Parse reads a W3C traceparent (https://www.w3.org/TR/trace-context/). One that is malformed is no trace: the result
// is not valid.
func Parse(traceparent string) trace.SpanContext {
	if traceparent == "" {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	return trace.SpanContextFromContext(ctx)
}

// Format writes a W3C traceparent; "" if sc is not valid.
func Format(sc trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), sc), carrier)
	return carrier["traceparent"]
}

// Span is a span that is to be, or was.
type Span struct {
	// Parent; if it is not valid, the span begins Trace.
	Parent trace.SpanContext
	Trace  trace.TraceID
	ID     trace.SpanID

	Name       string
	Kind       trace.SpanKind
	Start, End time.Time
	Attributes []attribute.KeyValue
	// Failed sets the status; Message says why.
	Failed  bool
	Message string
}

// Context returns the span's context, and whether it will be recorded: the sampler decides by Name, Kind, Attributes and
// ids. Nothing is sent. The context is not valid if t traces nothing.
func (s Span) Context(t trace.Tracer) (sc trace.SpanContext, recorded bool) {
	if t == nil {
		return trace.SpanContext{}, false
	}
	// A span that never ends is never sent.
	_, span := t.Start(s.parent(), s.Name, trace.WithSpanKind(s.Kind), trace.WithAttributes(s.Attributes...))
	sc = span.SpanContext()
	if sc.SpanID() != s.ID {
		return trace.SpanContext{}, false // a tracer that makes no spans gives back the parent
	}
	return sc, span.IsRecording()
}

// Record sends the span, with the times that it says.
func (s Span) Record(t trace.Tracer) {
	if t == nil {
		return
	}
	_, span := t.Start(s.parent(), s.Name, trace.WithSpanKind(s.Kind), trace.WithTimestamp(s.Start), trace.WithAttributes(s.Attributes...))
	if s.Failed {
		span.SetStatus(codes.Error, s.Message)
	}
	span.End(trace.WithTimestamp(s.End))
}

func (s Span) parent() context.Context {
	ctx := context.WithValue(context.Background(), idsKey{}, s)
	if s.Parent.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, s.Parent)
	}
	return ctx
}
