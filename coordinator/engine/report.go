package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// maxLost: how many attempts in a row may be lost before any step began.
const maxLost = 10

// Report implements Control.
func (e *Engine) Report(ctx context.Context, sessionID string, report *corev1.Report) error {
	report = boundReport(report)
	return e.ask(ctx, func(reply func(error)) {
		ref, err := e.speaker(sessionID, report.GetAttemptId())
		if err != nil {
			reply(err)
			return
		}
		r := e.runs[ref.runID]
		if r == nil || ref.done && e.holds[ref.id] == nil {
			// A repeat of a final report whose acknowledgement was lost.
			reply(nil)
			return
		}
		if e.c.Mutants.EarlyAck {
			reply(nil)
		}
		e.enqueue(r, func(d *draft) {
			err := d.report(ref, report)
			d.then(func() { reply(err) })
		})
	})
}

// speaker finds the attempt, if the session may speak for it.
func (e *Engine) speaker(sessionID, attemptID string) (*attemptRef, error) {
	a := e.sessions[sessionID]
	if a == nil {
		// Not FENCED: the attempt may live on in the agent's next session.
		return nil, rpcerr.New(rpcerr.SessionEnded, "session %s is not current: the agent has a newer one, or was away for too long", sessionID)
	}
	ref := e.attempts[attemptID]
	if ref == nil {
		ref = e.tail[attemptID]
	}
	if ref == nil || ref.agentID != a.rec.GetId() {
		return nil, rpcerr.New(rpcerr.Fenced, "attempt %s is not this agent's to speak for", attemptID)
	}
	return ref, nil
}

// current returns the job's record if ref is still its attempt.
func (d *draft) current(ref *attemptRef) *statev1.JobRecord {
	rec := d.job(ref.jobID)
	if rec.GetAttempt().GetId() != ref.id {
		return nil
	}
	return rec
}

func (d *draft) report(ref *attemptRef, report *corev1.Report) error {
	rec := d.current(ref)
	if rec == nil {
		return rpcerr.New(rpcerr.Fenced, "attempt %s was replaced", ref.id)
	}
	a := rec.GetAttempt()
	switch {
	case a.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE && report.GetSeq() > a.GetSeq() && report.GetHeldMs() == 0:
		d.endHold(ref, cmp.Or(report.GetReleased(), "its agent let it go"))
		return nil
	case a.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE || (report.GetSeq() <= a.GetSeq() && !lifecycle.Attempt.IsTerminal(a.GetState())):
		return nil // applied before
	case lifecycle.Attempt.IsTerminal(a.GetState()):
		return rpcerr.New(rpcerr.Fenced, "attempt %s has ended (%s)", ref.id, a.GetState())
	}
	if report.GetSeq() == 0 {
		return rpcerr.New(rpcerr.InvalidRequest, "a report's seq begins with 1")
	}
	ev := lifecycle.ReportEvent(report.GetState())
	if ev == "" {
		return rpcerr.New(rpcerr.InvalidRequest, "a report can't have the state %s", report.GetState())
	}
	if err := d.fireAttempt(ref.jobID, ev, lifecycle.AttemptArgs{Report: report}); err != nil {
		var refused *lifecycle.RefusedError
		if errors.As(err, &refused) {
			return rpcerr.New(rpcerr.InvalidRequest, "attempt %s: %s", ref.id, refused.Error())
		}
		return err
	}
	d.editJob(ref.jobID).Annotations = report.GetAnnotations()
	d.follow(ref, report)
	return nil
}

// follow moves the job after its attempt.
func (d *draft) follow(ref *attemptRef, report *corev1.Report) {
	rec := d.job(ref.jobID)
	begun := report.GetState() >= corev1.AttemptState_ATTEMPT_STATE_RUNNING && report.GetState() < corev1.AttemptState_ATTEMPT_STATE_DONE
	if (begun || lifecycle.Started(rec.GetAttempt())) && rec.GetState() == corev1.JobState_JOB_STATE_ASSIGNED {
		d.fireJob(ref.jobID, lifecycle.JobStart, lifecycle.JobArgs{})
	}
	if report.GetState() != corev1.AttemptState_ATTEMPT_STATE_DONE {
		return
	}
	d.then(func() { d.e.attemptDone(ref) })
	d.conclude(ref, report)
	d.hold(ref, report)
}

// conclude ends the job with its attempt's result, or tries again.
func (d *draft) conclude(ref *attemptRef, report *corev1.Report) {
	args := lifecycle.JobArgs{Outputs: report.GetOutputs(), Failure: report.GetFailure()}
	ev, retryOn := lifecycle.JobSucceeded, ""
	switch report.GetResult() {
	case corev1.Result_RESULT_CANCELLED:
		if d.concludeEvicted(ref) {
			return
		}
		ev = lifecycle.JobCancelled
	case corev1.Result_RESULT_FAILURE:
		ev, retryOn = lifecycle.JobFailed, "failure"
		if report.GetTimedOut() {
			ev, retryOn = lifecycle.JobTimedOut, "timeout"
		}
		if args.Failure.GetCode() == "" {
			args.Failure = userFailure("step-failed", "a step failed")
		}
	case corev1.Result_RESULT_SUCCESS, corev1.Result_RESULT_SKIPPED, corev1.Result_RESULT_UNSPECIFIED:
		args.Failure = nil
	}
	if size := outputsSize(report.GetOutputs()); size > maxOutputs {
		ev, retryOn, args.Outputs = lifecycle.JobFailed, "", nil
		args.Failure = userFailure("outputs-too-large", fmt.Sprintf("the job's outputs have %d bytes, more than %d: pass large data as an artifact", size, maxOutputs))
	}
	if retryOn != "" && d.mayRetry(ref, retryOn) {
		d.tried(ref.jobID, tryEnding[retryOn], args.Failure.GetMessage())
		d.retry(ref.jobID, "retry after: "+args.Failure.GetMessage(), d.plan(ref).GetRetry().GetBackoffMs())
		return
	}
	d.fireJob(ref.jobID, ev, args)
}

func (d *draft) plan(ref *attemptRef) *planv1.Job {
	return d.r.planJob(d.job(ref.jobID))
}

// mayRetry asks the job's `retry:`.
func (d *draft) mayRetry(ref *attemptRef, on string) bool {
	rec, policy := d.job(ref.jobID), d.plan(ref).GetRetry()
	if !lifecycle.Job.Can(rec, lifecycle.JobRetry) || rec.GetAttempt().GetNumber() >= policy.GetAttempts() {
		return false
	}
	for _, o := range policy.GetOn() {
		if o == on {
			return true
		}
	}
	return false
}

func (d *draft) retry(jobID, reason string, backoffMS int64) {
	if backoffMS > 0 {
		d.r.notBefore[jobID] = d.now + backoffMS
	}
	d.tried(jobID, "", reason)
	d.fireJob(jobID, lifecycle.JobRetry, lifecycle.JobArgs{Reason: reason})
}

// lose ends an attempt whose agent is gone or no longer holds it. The job goes on with a new attempt if no step had begun or its `retry:` names
// lost; else it fails.
func (d *draft) lose(ref *attemptRef, why string) {
	rec := d.current(ref)
	if rec == nil || lifecycle.Attempt.IsTerminal(rec.GetAttempt().GetState()) {
		return
	}
	started := lifecycle.Started(rec.GetAttempt())
	if err := d.fireAttempt(ref.jobID, lifecycle.AttemptLost, lifecycle.AttemptArgs{}); err != nil {
		d.e.c.Log.Error("an attempt can't be lost", "run", d.r.id, "job", ref.jobID, "attempt", ref.id, "error", err)
		return
	}
	d.e.c.Log.Warn("attempt lost", "run", d.r.id, "job", ref.jobID, "attempt", ref.id, "agent", ref.agentID, "reason", why)
	d.then(func() { d.e.c.Metrics.lost.Inc(); delete(d.e.attempts, ref.id) })
	rec = d.job(ref.jobID)
	failure := systemFailure("lost", why)
	d.recordLost(rec, failure)
	switch {
	case rec.GetState() == corev1.JobState_JOB_STATE_CANCELLING:
		d.fireJob(ref.jobID, lifecycle.JobCancelled, lifecycle.JobArgs{Failure: failure})
	case !started && rec.GetAttempt().GetNumber() < maxLost, d.mayRetry(ref, "lost"):
		d.retry(ref.jobID, "the last attempt was lost: "+why, 0)
	default:
		failure.Message += "; its steps may have had effects, so it is not tried again by itself (retry: {on: [lost]} allows it)"
		d.fireJob(ref.jobID, lifecycle.JobFailed, lifecycle.JobArgs{Failure: failure})
	}
}

// OfferReply implements Control.
func (e *Engine) OfferReply(ctx context.Context, sessionID string, r *fleetv1.OfferReply) error {
	return e.ask(ctx, func(reply func(error)) {
		ref, err := e.speaker(sessionID, r.GetAttemptId())
		if err != nil {
			reply(err)
			return
		}
		run := e.runs[ref.runID]
		if run == nil {
			reply(nil)
			return
		}
		if r.GetAccepted() {
			// Nobody builds on it, so it needs no commit of its own: see design/engine.md.
			run.note(ref)
			reply(nil)
			return
		}
		e.enqueue(run, func(d *draft) {
			err := d.reject(ref, r)
			d.then(func() { reply(err) })
		})
	})
}

// note remembers that an agent took an attempt, until the run's next draft.
func (r *run) note(ref *attemptRef) {
	if !slices.Contains(r.accepted, ref) {
		r.accepted = append(r.accepted, ref)
	}
}

// accept puts into the draft which attempts were taken since the last one.
func (d *draft) accept() {
	for _, ref := range d.r.accepted {
		if rec := d.current(ref); rec == nil || !lifecycle.Attempt.Can(rec.GetAttempt(), lifecycle.AttemptAccept) {
			continue // answered before, or over
		}
		if err := d.fireAttempt(ref.jobID, lifecycle.AttemptAccept, lifecycle.AttemptArgs{}); err != nil {
			d.e.c.Log.Error("an attempt can't be accepted", "run", d.r.id, "job", ref.jobID, "attempt", ref.id, "error", err)
		}
	}
	d.r.accepted = nil
}

// reject takes an attempt back that its agent does not want.
func (d *draft) reject(ref *attemptRef, r *fleetv1.OfferReply) error {
	rec := d.current(ref)
	switch {
	case rec == nil || rec.GetAttempt().GetState() == corev1.AttemptState_ATTEMPT_STATE_LOST:
		return rpcerr.New(rpcerr.Fenced, "attempt %s was replaced", ref.id)
	case rec.GetAttempt().GetState() != corev1.AttemptState_ATTEMPT_STATE_OFFERED:
		return nil // answered before
	}
	if err := d.fireAttempt(ref.jobID, lifecycle.AttemptReject, lifecycle.AttemptArgs{}); err != nil {
		return err
	}
	d.then(func() { d.e.c.Metrics.rejected.Inc(); delete(d.e.attempts, ref.id) })
	d.e.c.Log.Info("offer rejected", "run", d.r.id, "job", ref.jobID, "attempt", ref.id, "agent", ref.agentID, "reason", r.GetReason())
	if rec.GetState() == corev1.JobState_JOB_STATE_CANCELLING {
		d.fireJob(ref.jobID, lifecycle.JobCancelled, lifecycle.JobArgs{})
		return nil
	}
	d.r.avoidAgent(ref.jobID, ref.agentID, r.GetReason(), d.now)
	d.retry(ref.jobID, "", 0)
	return nil
}

// avoidAgent keeps a job from an agent that rejected it: 1 s, then twice as long each time, at most a minute.
func (r *run) avoidAgent(jobID, agentID, reason string, now int64) {
	agents := r.avoid[jobID]
	if agents == nil {
		agents = map[string]avoidance{}
		r.avoid[jobID] = agents
	}
	a := agents[agentID]
	wait := min(int64(1000)<<min(a.times, 6), 60_000)
	if reason == "" {
		reason = "without a reason"
	}
	agents[agentID] = avoidance{untilMS: now + wait, times: a.times + 1, reason: "rejected it: " + clip(reason, maxLabel)}
}
