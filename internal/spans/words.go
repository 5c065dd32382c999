package spans

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// SchemaURL of the semantic conventions that the spans follow; for tracers.
const SchemaURL = semconv.SchemaURL

// Attributes beside OpenTelemetry's own (`cicd.*`, `vcs.*`, `error.type`, `process.exit.code`).
const (
	// Project of a run.
	Project = attribute.Key("slipway.project")
	// RunNumber counts a project's runs.
	RunNumber = attribute.Key("slipway.run.number")
	// RunEvent is the event that began the run, e.g. push.
	RunEvent = attribute.Key("slipway.run.event")
	// PipelinePath is the workflow file.
	PipelinePath = attribute.Key("slipway.pipeline.path")
	// JobID is the job instance: the job's key, or key.LEG.
	JobID = attribute.Key("slipway.job.id")
	// JobAttempt counts the tries of a job.
	JobAttempt = attribute.Key("slipway.job.attempt")
	// JobQueued is how long the job waited for an agent, in seconds.
	JobQueued = attribute.Key("slipway.job.queued_seconds")
	// StepNumber is the step's place in its attempt; 0 is "Set up job".
	StepNumber = attribute.Key("slipway.step.number")
	// StepConclusion is the step's result after continue-on-error: success, failure, cancelled or skipped.
	StepConclusion = attribute.Key("slipway.step.conclusion")
)

// Results of runs and of tasks are the same words in the conventions.
const (
	Success      = "success"
	Failure      = "failure"
	Error        = "error"
	Timeout      = "timeout"
	Cancellation = "cancellation"
	Skip         = "skip"
)

// timedOut is the code of a failure by a time limit.
const timedOut = "timed-out"

// ResultOf is the conventions' word for how a job or step ended: what failed by the system's fault is an error, by its own a
// failure.
func ResultOf(r corev1.Result, f *corev1.Failure) string {
	switch r {
	case corev1.Result_RESULT_SUCCESS:
		return Success
	case corev1.Result_RESULT_CANCELLED:
		return Cancellation
	case corev1.Result_RESULT_SKIPPED:
		return Skip
	case corev1.Result_RESULT_FAILURE, corev1.Result_RESULT_UNSPECIFIED:
	}
	return failed(f)
}

func failed(f *corev1.Failure) string {
	switch {
	case f.GetCode() == timedOut:
		return Timeout
	case f.GetFault() == corev1.Fault_FAULT_SYSTEM:
		return Error
	}
	return Failure
}

// RunResult is ResultOf for a run.
func RunResult(s corev1.RunState, f *corev1.Failure) string {
	switch s {
	case corev1.RunState_RUN_STATE_SUCCEEDED:
		return Success
	case corev1.RunState_RUN_STATE_CANCELLED:
		return Cancellation
	case corev1.RunState_RUN_STATE_SKIPPED:
		return Skip
	default:
		return failed(f)
	}
}

// JobResult is ResultOf for a job.
func JobResult(s corev1.JobState, f *corev1.Failure) string {
	switch s {
	case corev1.JobState_JOB_STATE_SUCCEEDED:
		return Success
	case corev1.JobState_JOB_STATE_CANCELLED:
		return Cancellation
	case corev1.JobState_JOB_STATE_SKIPPED:
		return Skip
	case corev1.JobState_JOB_STATE_TIMED_OUT:
		return Timeout
	default:
		return failed(f)
	}
}

// end gives a span its result under key, and error.type and status if it went wrong.
func (s *Span) end(key attribute.Key, result string, f *corev1.Failure) {
	s.Attributes = append(s.Attributes, key.String(result))
	if result != Failure && result != Error && result != Timeout {
		return
	}
	class := f.GetCode()
	if class == "" {
		class = semconv.ErrorTypeOther.Value.AsString()
	}
	s.Attributes = append(s.Attributes, semconv.ErrorTypeKey.String(class))
	s.Failed, s.Message = true, f.GetMessage()
}
