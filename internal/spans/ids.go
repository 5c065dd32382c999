package spans

import (
	"context"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
)

type idsKey struct{}

// IDs gives a Span its own ids, and every other span random ones. It is an IDGenerator of the OpenTelemetry SDK.
type IDs struct{}

// NewIDs is called for a span without a parent.
func (IDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if s, ok := ctx.Value(idsKey{}).(Span); ok && s.Trace.IsValid() {
		return s.Trace, s.ID
	}
	var t trace.TraceID
	for !t.IsValid() {
		fill(t[:])
	}
	return t, randomSpan()
}

// NewSpanID is called for a span with a parent.
func (IDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if s, ok := ctx.Value(idsKey{}).(Span); ok {
		return s.ID
	}
	return randomSpan()
}

func randomSpan() trace.SpanID {
	var id trace.SpanID
	for !id.IsValid() {
		fill(id[:])
	}
	return id
}

// fill uses a generator that is not for secrets: ids need not be unguessable, only different.
func fill(b []byte) {
	for i := 0; i < len(b); i += 8 {
		x := rand.Uint64()
		for j := range min(8, len(b)-i) {
			b[i+j] = byte(x >> (8 * j))
		}
	}
}
