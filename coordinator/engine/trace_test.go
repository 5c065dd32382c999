package engine

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/internal/spans"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// leadTraced replaces the engine by one that traces, as a new process does: its provider is a new one.
func (r *rig) leadTraced(to sdktrace.SpanExporter) {
	r.t.Helper()
	r.Engine.Close()
	term, err := (&leader.Single{Store: r.store, Key: root + "leader", Name: "test"}).Campaign(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(to), sdktrace.WithIDGenerator(spans.IDs{}))
	r.Engine, err = New(r.t.Context(), Config{Store: r.store, Term: term, Plans: r.plans, Clock: r.clock, NewID: r.ids.New, Random: r.dice,
		Runners: map[string]config.Runner{"ubuntu-latest": {Image: "runner", Pool: "default"}},
		Log:     slog.New(slog.DiscardHandler), Tracer: provider.Tracer("test")})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Engine.Start()
}

// names of the spans that arrived, sorted, each with its result.
func names(to *tracetest.InMemoryExporter) string {
	var out []string
	for _, s := range to.GetSpans() {
		out = append(out, s.Name+":"+attr(s, "cicd.pipeline.result")+attr(s, "cicd.pipeline.task.run.result"))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func attr(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

func TestSpanOfARunAcrossLeaders(t *testing.T) {
	r, to := newRig(t), tracetest.NewInMemoryExporter()
	r.leadTraced(to)
	skipped := job("never", "build")
	skipped.Condition = "false"
	s := r.submission(plan(job("build"), skipped))
	s.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	runID, _, err := r.Submit(r.ctx(), s)
	if err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(3 * time.Second)
	a := r.agent("a", 1)
	as := a.offer()
	if as.GetQueuedForMs() != 3000 {
		t.Errorf("queued for %d ms", as.GetQueuedForMs())
	}
	parent := spans.Parse(as.GetTraceparent())
	if parent.TraceID().String() != "4bf92f3577b34da6a3ce929d0e0e4736" || parent.SpanID() != spans.RunSpan(runID) || !parent.IsSampled() {
		t.Errorf("the agent is told %s", as.GetTraceparent())
	}
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	if got := names(to); got != "" {
		t.Errorf("spans of a run that goes on: %s", got)
	}
	r.leadTraced(to)
	a.connect(as.GetAttemptId())
	r.clock.Advance(4 * time.Second)
	a.finish(as.GetAttemptId(), success)
	r.want(runID, "succeeded build:succeeded never:skipped")
	// The agent tells of the job that it had.
	if got := names(to); got != "RUN ci:success never:skip" {
		t.Fatal(got)
	}
	for _, s := range to.GetSpans() {
		switch {
		case s.SpanContext.TraceID() != parent.TraceID():
			t.Errorf("%s is of another trace", s.Name)
		case s.Name == "RUN ci" && (s.Parent.SpanID().String() != "00f067aa0ba902b7" || s.SpanContext.SpanID() != parent.SpanID() || s.EndTime.Sub(s.StartTime) != 7*time.Second):
			t.Errorf("the run's span: %v under %v, %v", s.SpanContext, s.Parent, s.EndTime.Sub(s.StartTime))
		case s.Name == "never" && s.Parent.SpanID() != parent.SpanID():
			t.Errorf("the skipped job is under %v", s.Parent)
		}
	}
	r.leadTraced(to)
	r.settle()
	if got := len(to.GetSpans()); got != 2 {
		t.Errorf("%d spans after another change of leader", got)
	}
}

func TestSpanOfALostAttempt(t *testing.T) {
	r, to := newRig(t), tracetest.NewInMemoryExporter()
	r.leadTraced(to)
	runID := r.submit(plan(job("build")))
	a := r.agent("a", 1)
	as := a.offer()
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	r.Disconnect(a.id, a.session)
	r.settle()
	r.clock.Advance(3 * time.Minute)
	r.want(runID, "failed build:failed")
	if got := names(to); got != "RUN ci:error build:error build:error" {
		t.Fatal(got)
	}
	var step, attempt tracetest.SpanStub
	for _, s := range to.GetSpans() {
		switch s.SpanContext.SpanID() {
		case spans.AttemptSpan(as.GetAttemptId()):
			attempt = s
		case spans.StepSpan(as.GetAttemptId(), 1):
			step = s
		}
	}
	if attempt.Parent.SpanID() != spans.RunSpan(runID) || attr(attempt, "error.type") != "lost" || attr(attempt, "cicd.worker.id") != "a" || attempt.EndTime.Sub(attempt.StartTime) < time.Minute {
		t.Errorf("the attempt's span: %+v", attempt)
	}
	if step.Parent.SpanID() != attempt.SpanContext.SpanID() || attr(step, "error.type") != "lost" {
		t.Errorf("the step's span: %+v", step)
	}
}

// A coordinator that traces nothing passes on what it was given, and makes nothing of it when the next one traces.
func TestRunsOfACoordinatorThatTracesNothing(t *testing.T) {
	r, to := newRig(t), tracetest.NewInMemoryExporter()
	a := r.agent("a", 1)
	const given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, tt := range []struct{ sent, told string }{{"", ""}, {given, given}, {"nonsense\nX=y", ""}} {
		s := r.submission(plan(job("build")))
		s.Traceparent = tt.sent
		if _, _, err := r.Submit(r.ctx(), s); err != nil {
			t.Fatal(err)
		}
		as := a.offer()
		if as.GetTraceparent() != tt.told {
			t.Errorf("sent %q, told %q", tt.sent, as.GetTraceparent())
		}
		r.leadTraced(to)
		a.connect(as.GetAttemptId())
		a.finish(as.GetAttemptId(), corev1.Result_RESULT_SUCCESS)
		r.settle()
		if got := names(to); got != "" {
			t.Errorf("spans: %s", got)
		}
		r.restart()
		a.connect()
	}
}
