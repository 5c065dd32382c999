package engine

import (
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/spans"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// trace decides under which span a new run's jobs are traced: its own, or, where this coordinator traces nothing, the submitter's.
func (e *Engine) trace(def *statev1.RunDefinition, traceparent string) {
	submitter := spans.Parse(traceparent)
	// Written anew: it reaches the environment of steps.
	def.Traceparent = spans.Format(submitter)
	if e.c.Tracer == nil {
		return
	}
	own, _ := runOf(def, def.GetName(), submitter).Span().Context(e.c.Tracer)
	if !own.IsValid() {
		return
	}
	def.Traceparent = spans.Format(own)
	if submitter.IsValid() {
		def.SubmitterSpan = submitter.SpanID().String()
	}
}

func runOf(def *statev1.RunDefinition, pipeline string, submitter trace.SpanContext) spans.Run {
	return spans.Run{ID: def.GetId(), Project: def.GetProject(), Pipeline: pipeline, Path: def.GetPath(), Event: def.GetEvent(), Source: def.GetSource(),
		Submitter: submitter}
}

// submitterOf is the span that the run's is a child of; not valid if there is none, or if the stored id is not one.
func submitterOf(def *statev1.RunDefinition, own trace.SpanContext) trace.SpanContext {
	id, err := trace.SpanIDFromHex(def.GetSubmitterSpan())
	if err != nil {
		return trace.SpanContext{}
	}
	return own.WithSpanID(id)
}

// recordRun sends the span of a run that ended, and those of its jobs that no agent had. It runs after the commit, in the process that made it.
func (e *Engine) recordRun(r *run) {
	own := spans.Parse(r.def.GetTraceparent())
	if e.c.Tracer == nil || !own.IsSampled() || own.SpanID() != spans.RunSpan(r.id) {
		return // not traced, or not by us
	}
	for _, id := range r.order {
		rec := r.jobs[id].rec
		if rec.GetAttempt() == nil || rec.GetAttempt().GetState() == corev1.AttemptState_ATTEMPT_STATE_REJECTED {
			recordIdle(e.c.Tracer, own, rec)
		}
	}
	h := r.header
	runOf(r.def, r.plan.GetName(), submitterOf(r.def, own)).
		Ended(h.GetNumber(), time.UnixMilli(h.GetCreatedMs()), time.UnixMilli(h.GetEndedMs()), h.GetState(), h.GetFailure()).Record(e.c.Tracer)
}

// recordIdle sends the span of a job that ended without running.
func recordIdle(t trace.Tracer, run trace.SpanContext, rec *statev1.JobRecord) {
	if !lifecycle.Job.IsTerminal(rec.GetState()) {
		return
	}
	begun := rec.GetQueuedMs()
	if begun == 0 {
		begun = rec.GetEndedMs()
	}
	spans.Job{RunID: rec.GetRunId(), ID: rec.GetId(), Name: rec.GetName(), Parent: run, Start: time.UnixMilli(begun), End: time.UnixMilli(rec.GetEndedMs()),
		State: rec.GetState(), Failure: rec.GetFailure()}.Span().Record(t)
}

// recordLost arranges the spans of an attempt whose agent will not send them, as far as its reports told. Its steps count from the offer: when it
// really began, only the agent knew.
func (d *draft) recordLost(rec *statev1.JobRecord, failure *corev1.Failure) {
	run := spans.Parse(d.r.def.GetTraceparent())
	if d.e.c.Tracer == nil || !run.IsSampled() {
		return
	}
	// The record changes before the commit: the job is queued again, or ends.
	rec = proto.CloneOf(rec)
	a := rec.GetAttempt()
	started, ended := time.UnixMilli(a.GetOfferedMs()), time.UnixMilli(d.now)
	hostname := ""
	if agent := d.e.agents[a.GetAgentId()]; agent != nil {
		hostname = agent.rec.GetHostname()
	}
	d.then(func() {
		spans.Attempt{RunID: d.r.id, JobID: rec.GetId(), JobName: rec.GetName(), ID: a.GetId(), Number: a.GetNumber(), AgentID: a.GetAgentId(), Hostname: hostname,
			Queued: time.Duration(max(0, a.GetOfferedMs()-rec.GetQueuedMs())) * time.Millisecond, Parent: run, Job: d.r.planJob(rec),
		}.Record(d.e.c.Tracer, started, ended, spans.Error, failure, a.GetSteps())
	})
}
