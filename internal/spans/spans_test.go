package spans_test

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/slipway-ci/slipway/internal/spans"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// tracer is of a process of its own, as every restart is; its spans go to one collector.
func tracer(t *testing.T, to *tracetest.InMemoryExporter, options ...sdktrace.TracerProviderOption) trace.Tracer {
	t.Helper()
	p := sdktrace.NewTracerProvider(append(options, sdktrace.WithSyncer(to), sdktrace.WithIDGenerator(spans.IDs{}))...)
	return p.Tracer("test")
}

func value(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

var run = spans.Run{
	ID: "01RUN", Project: "p", Pipeline: "ci", Path: ".github/workflows/ci.yml", Event: "push",
	Source: &corev1.Source{Repository: "acme/shop", Sha: "9d59409acf479dfa0df1aa568182e43e43df8bbe", Ref: "refs/heads/main"},
}

func TestOneTraceOfManyProcesses(t *testing.T) {
	to := tracetest.NewInMemoryExporter()
	// The coordinator that takes the run, the one that ends it, two agents.
	own, recorded := run.Span().Context(tracer(t, to))
	if !recorded || len(to.GetSpans()) != 0 {
		t.Fatalf("recorded %t, sent %d spans before anything ended", recorded, len(to.GetSpans()))
	}
	parent := spans.Parse(spans.Format(own))
	start := time.UnixMilli(1_700_000_000_000)
	steps := []*corev1.StepStatus{
		{Number: 0, Name: "Set up job", Outcome: corev1.Result_RESULT_SUCCESS, Conclusion: corev1.Result_RESULT_SUCCESS, StartedMs: 0, EndedMs: 100},
		{Number: 1, Name: "Run make", Outcome: corev1.Result_RESULT_FAILURE, Conclusion: corev1.Result_RESULT_FAILURE, ExitCode: 2, StartedMs: 100, EndedMs: 900,
			Failure: &corev1.Failure{Code: "step-failed", Fault: corev1.Fault_FAULT_USER, Message: "exit code 2"}},
		{Number: 2, Name: "Tell", Outcome: corev1.Result_RESULT_SKIPPED, Conclusion: corev1.Result_RESULT_SKIPPED, StartedMs: 900, EndedMs: 900},
	}
	attempt := spans.Attempt{RunID: run.ID, JobID: "build", JobName: "build", ID: "01ATT", Number: 1, AgentID: "a", Hostname: "h", Queued: 1500 * time.Millisecond, Parent: parent,
		Job: &planv1.Job{Steps: []*planv1.Step{{Kind: &planv1.Step_Run{Run: &planv1.Run{}}}, {Kind: &planv1.Step_Run{Run: &planv1.Run{}}}}}}
	failure := &corev1.Failure{Code: "step-failed", Fault: corev1.Fault_FAULT_USER, Message: "step \"Run make\": exit code 2"}
	attempt.Record(tracer(t, to), start, start.Add(time.Second), spans.Failure, failure, steps)
	spans.Job{RunID: run.ID, ID: "deploy", Name: "deploy", Parent: parent, Start: start, End: start, State: corev1.JobState_JOB_STATE_SKIPPED}.Span().Record(tracer(t, to))
	run.Ended(7, start.Add(-time.Second), start.Add(2*time.Second), corev1.RunState_RUN_STATE_FAILED, failure).Record(tracer(t, to))

	byName := map[string]tracetest.SpanStub{}
	for _, s := range to.GetSpans() {
		byName[s.Name] = s
		if s.SpanContext.TraceID() != spans.RunTrace(run.ID) {
			t.Errorf("%s is of another trace", s.Name)
		}
	}
	for child, parent := range map[string]string{"build": "RUN ci", "deploy": "RUN ci", "Set up job": "build", "Run make": "build", "Tell": "build"} {
		if got, want := byName[child].Parent.SpanID(), byName[parent].SpanContext.SpanID(); got != want || !want.IsValid() {
			t.Errorf("parent of %q: %s, want %q (%s)", child, got, parent, want)
		}
	}
	root := byName["RUN ci"]
	if root.Parent.IsValid() || root.SpanKind != trace.SpanKindServer || root.Status.Code != codes.Error || root.EndTime.Sub(root.StartTime) != 3*time.Second {
		t.Errorf("the run's span: parent %v, kind %v, status %v, %v", root.Parent, root.SpanKind, root.Status, root.EndTime.Sub(root.StartTime))
	}
	for key, want := range map[attribute.Key]string{
		"cicd.pipeline.name": "ci", "cicd.pipeline.run.id": "01RUN", "cicd.pipeline.result": "failure", "error.type": "step-failed", "vcs.owner.name": "acme",
		"vcs.repository.name": "shop", "vcs.ref.head.name": "main", "vcs.ref.head.type": "branch", "vcs.ref.head.revision": run.Source.GetSha(), spans.RunNumber: "7",
	} {
		if got := value(root, key); got != want {
			t.Errorf("%s of the run: %q, want %q", key, got, want)
		}
	}
	if s := byName["Run make"]; value(s, "process.exit.code") != "2" || value(s, "cicd.pipeline.task.run.result") != "failure" || s.Status.Description != "exit code 2" ||
		!s.StartTime.Equal(start.Add(100*time.Millisecond)) || s.SpanContext.SpanID() != spans.StepSpan("01ATT", 1) {
		t.Errorf("the step's span: %+v", s)
	}
	if s := byName["Tell"]; value(s, "cicd.pipeline.task.run.result") != "skip" || value(s, "process.exit.code") != "" || s.Status.Code != codes.Unset {
		t.Errorf("the skipped step's span: %+v", s)
	}
	if got := value(byName["build"], spans.JobQueued); got != "1.5" {
		t.Errorf("queued: %q", got)
	}
}

func TestSubmittersTraceGoesOn(t *testing.T) {
	to := tracetest.NewInMemoryExporter()
	r := run
	r.Submitter = spans.Parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	own, recorded := r.Span().Context(tracer(t, to))
	if !recorded || own.TraceID() != r.Submitter.TraceID() || own.SpanID() != spans.RunSpan(r.ID) {
		t.Errorf("the run's span is %s (recorded %t)", spans.Format(own), recorded)
	}
	r.Submitter = spans.Parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	if own, recorded := r.Span().Context(tracer(t, to)); recorded || own.IsSampled() || !own.IsValid() {
		t.Errorf("the submitter does not sample; the run's span is %s (recorded %t)", spans.Format(own), recorded)
	}
}

func TestNothingTraced(t *testing.T) {
	for name, tr := range map[string]trace.Tracer{"nil": nil, "noop": noop.NewTracerProvider().Tracer("")} {
		if own, recorded := run.Span().Context(tr); recorded || own.IsValid() {
			t.Errorf("%s: %s", name, spans.Format(own))
		}
		spans.Attempt{ID: "a"}.Record(tr, time.Now(), time.Now(), spans.Success, nil, nil)
		run.Span().Record(tr)
	}
}

func TestParse(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if got := spans.Format(spans.Parse(good)); got != good {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"", "x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", good + "\nX: y", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
		if sc := spans.Parse(bad); sc.IsValid() || spans.Format(sc) != "" {
			t.Errorf("%q is taken for a traceparent", bad)
		}
	}
}

func TestOtherSpansGetRandomIDs(t *testing.T) {
	to := tracetest.NewInMemoryExporter()
	tr := tracer(t, to)
	seen := map[trace.SpanID]bool{}
	for range 100 {
		ctx, root := tr.Start(t.Context(), "root")
		_, child := tr.Start(ctx, "child")
		for _, s := range []trace.Span{root, child} {
			if id := s.SpanContext().SpanID(); seen[id] || !id.IsValid() {
				t.Fatalf("span id %s again", id)
			}
			seen[s.SpanContext().SpanID()] = true
		}
	}
}

// What a run that nobody traces pays.
func BenchmarkOff(b *testing.B) {
	a := spans.Attempt{RunID: "r", JobID: "j", JobName: "j", ID: "a"}
	for b.Loop() {
		a.Span().Context(nil)
	}
}
