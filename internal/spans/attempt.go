package spans

import (
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/pipeline/unfold"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Attempt is what the span of a job's attempt tells, and of its steps.
type Attempt struct {
	RunID, JobID, JobName, ID string
	Number                    uint32
	AgentID, Hostname         string
	// Queued is how long the job waited for the agent.
	Queued time.Duration
	// Parent is the run's span. If it is not valid, the attempt begins the run's trace.
	Parent trace.SpanContext
	// Job tells which steps are processes; it may be nil.
	Job *planv1.Job
}

// Span is the attempt's span so far.
func (a Attempt) Span() Span {
	s := Span{
		Parent: a.Parent, Trace: RunTrace(a.RunID), ID: AttemptSpan(a.ID), Name: a.JobName, Kind: trace.SpanKindInternal,
		Attributes: []attribute.KeyValue{
			semconv.CICDPipelineRunID(a.RunID), semconv.CICDPipelineTaskName(a.JobName), semconv.CICDPipelineTaskRunID(a.ID),
			semconv.CICDWorkerID(a.AgentID), JobID.String(a.JobID), JobAttempt.Int64(int64(a.Number)), JobQueued.Float64(a.Queued.Seconds()),
		},
	}
	if a.Hostname != "" {
		s.Attributes = append(s.Attributes, semconv.CICDWorkerName(a.Hostname))
	}
	return s
}

// Record sends the spans of the attempt and its steps: it began at start, steps count from there, and f says what went
// wrong, if anything. An attempt that is not sampled sends nothing.
func (a Attempt) Record(t trace.Tracer, start, end time.Time, result string, f *corev1.Failure, steps []*corev1.StepStatus) {
	s := a.Span()
	self, recorded := s.Context(t)
	if !recorded {
		return
	}
	for _, step := range steps {
		a.step(self, start, end, step, f).Record(t)
	}
	s.Start, s.End = start, end
	s.end(semconv.CICDPipelineTaskRunResultKey, result, f)
	s.Record(t)
}

// step is a step's span. One that has no outcome ended with its attempt, by lost.
func (a Attempt) step(parent trace.SpanContext, start, end time.Time, step *corev1.StepStatus, lost *corev1.Failure) Span {
	number := step.GetNumber()
	at := func(ms int64, unknown time.Time) time.Time {
		if ms < 0 {
			return unknown
		}
		return start.Add(time.Duration(ms) * time.Millisecond)
	}
	s := Span{
		Parent: parent, ID: StepSpan(a.ID, number), Name: step.GetName(), Kind: trace.SpanKindInternal,
		Start: at(step.GetStartedMs(), start), End: at(step.GetEndedMs(), end),
		Attributes: []attribute.KeyValue{
			semconv.CICDPipelineRunID(a.RunID), semconv.CICDPipelineTaskName(step.GetName()),
			semconv.CICDPipelineTaskRunID(a.ID + "/" + strconv.FormatUint(uint64(number), 10)),
			JobID.String(a.JobID), StepNumber.Int64(int64(number)), StepConclusion.String(conclusion(step.GetConclusion())),
		},
	}
	if a.isProcess(number) && step.GetOutcome() != corev1.Result_RESULT_SKIPPED && (step.GetExitCode() != 0 || step.GetOutcome() == corev1.Result_RESULT_SUCCESS) {
		s.Attributes = append(s.Attributes, semconv.ProcessExitCode(int(step.GetExitCode())))
	}
	f := step.GetFailure()
	if step.GetOutcome() == corev1.Result_RESULT_UNSPECIFIED {
		f = lost
	}
	s.end(semconv.CICDPipelineTaskRunResultKey, ResultOf(step.GetOutcome(), f), f)
	if step.GetConclusion() == corev1.Result_RESULT_SUCCESS {
		s.Failed = false // continue-on-error
	}
	return s
}

// isProcess says whether a step runs a process of the user's.
func (a Attempt) isProcess(number uint32) bool {
	all := unfold.Steps(a.Job.GetSteps())
	if number < 1 || int(number) > len(all) {
		return false
	}
	s := all[number-1]
	return s.GetRun() != nil || s.GetAction().GetNode() != nil
}

func conclusion(r corev1.Result) string {
	switch r {
	case corev1.Result_RESULT_SUCCESS:
		return "success"
	case corev1.Result_RESULT_CANCELLED:
		return "cancelled"
	case corev1.Result_RESULT_SKIPPED:
		return "skipped"
	case corev1.Result_RESULT_FAILURE:
		return "failure"
	case corev1.Result_RESULT_UNSPECIFIED:
	}
	return "unknown"
}
