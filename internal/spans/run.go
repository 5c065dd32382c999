package spans

import (
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Run is what the span of a run tells. See "Semantic conventions for CICD spans" of OpenTelemetry.
type Run struct {
	ID, Project string
	// Pipeline is its name, not the run's, which may be another one every time.
	Pipeline, Path, Event string
	Source                *corev1.Source
	// Submitter is the span that the run was submitted under; not valid if there was none.
	Submitter trace.SpanContext
}

// Span is the run's span so far.
func (r Run) Span() Span {
	s := Span{
		Parent: r.Submitter, Trace: RunTrace(r.ID), ID: RunSpan(r.ID), Kind: trace.SpanKindServer,
		Name: strings.TrimSpace(semconv.CICDPipelineActionNameRun.Value.AsString() + " " + r.Pipeline),
		Attributes: []attribute.KeyValue{
			semconv.CICDPipelineName(r.Pipeline), semconv.CICDPipelineRunID(r.ID), semconv.CICDPipelineActionNameRun,
			Project.String(r.Project), PipelinePath.String(r.Path), RunEvent.String(r.Event),
		},
	}
	s.Attributes = append(s.Attributes, vcs(r.Source)...)
	return s
}

// vcs is what is known of the source. Slipway does not know the repository's address.
func vcs(src *corev1.Source) []attribute.KeyValue {
	var out []attribute.KeyValue
	owner, name, found := strings.Cut(src.GetRepository(), "/")
	if !found {
		owner, name = "", src.GetRepository()
	}
	if owner != "" {
		out = append(out, semconv.VCSOwnerName(owner))
	}
	if name != "" {
		out = append(out, semconv.VCSRepositoryName(name))
	}
	if strings.Trim(src.GetSha(), "0") != "" {
		out = append(out, semconv.VCSRefHeadRevision(src.GetSha()))
	}
	for prefix, kind := range map[string]attribute.KeyValue{"refs/heads/": semconv.VCSRefHeadTypeBranch, "refs/tags/": semconv.VCSRefHeadTypeTag} {
		if short, ok := strings.CutPrefix(src.GetRef(), prefix); ok {
			out = append(out, semconv.VCSRefHeadName(short), kind)
		}
	}
	if change, ok := strings.CutPrefix(src.GetRef(), "refs/pull/"); ok {
		id, _, _ := strings.Cut(change, "/")
		out = append(out, semconv.VCSChangeID(id))
	}
	return out
}

// Ended is the run's span once it has ended.
func (r Run) Ended(number uint64, start, end time.Time, state corev1.RunState, f *corev1.Failure) Span {
	s := r.Span()
	s.Start, s.End = start, end
	s.Attributes = append(s.Attributes, RunNumber.Int64(int64(number)))
	s.end(semconv.CICDPipelineResultKey, RunResult(state, f), f)
	return s
}

// Job is a job of a run that ended without an attempt: skipped, cancelled before it was placed, or invalid.
type Job struct {
	RunID, ID, Name string
	Parent          trace.SpanContext
	Start, End      time.Time
	State           corev1.JobState
	Failure         *corev1.Failure
}

// Span is the job's span.
func (j Job) Span() Span {
	s := Span{
		Parent: j.Parent, ID: JobSpan(j.RunID, j.ID), Name: j.Name, Kind: trace.SpanKindInternal, Start: j.Start, End: j.End,
		Attributes: []attribute.KeyValue{
			semconv.CICDPipelineRunID(j.RunID), semconv.CICDPipelineTaskName(j.Name), semconv.CICDPipelineTaskRunID(j.RunID + "/" + j.ID), JobID.String(j.ID),
		},
	}
	s.end(semconv.CICDPipelineTaskRunResultKey, JobResult(j.State, j.Failure), j.Failure)
	return s
}
