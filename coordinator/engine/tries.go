package engine

import (
	"cmp"
	"slices"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// How a try ended, in corev1.Try.ending.
const (
	endSuccess   = "success"
	endFailure   = "failure"
	endTimedOut  = "timed-out"
	endCancelled = "cancelled"
	endLost      = "lost"
	endRejected  = "rejected"
	endEvicted   = "evicted"
)

// tryEnding is how a try ended, by what `retry.on` calls it.
var tryEnding = map[string]string{"failure": endFailure, "timeout": endTimedOut}

// firstTries and lastTries are how many of a job's tries are kept.
const firstTries, lastTries = 5, 15

// tried notes that a job's attempt has ended and will be followed by another. ending "" follows from the attempt's state.
func (d *draft) tried(jobID, ending, reason string) {
	a := d.job(jobID).GetAttempt()
	tries := d.job(jobID).GetTries()
	if a == nil || len(tries) > 0 && tries[len(tries)-1].GetAttemptId() == a.GetId() {
		return
	}
	rec := d.editJob(jobID)
	rec.Tries = addTry(rec.GetTries(), &corev1.Try{Number: a.GetNumber(), AttemptId: a.GetId(), Agent: a.GetAgentId(), Ending: cmp.Or(ending, endingOf(a)),
		Result: resultOf(cmp.Or(ending, endingOf(a))), Reason: clip(reason, maxLabel), OfferedMs: a.GetOfferedMs(), EndedMs: d.now, RunAttempt: attemptOf(d.r.def)})
}

// addTry appends, and of too many drops one in the middle.
func addTry(tries []*corev1.Try, t *corev1.Try) []*corev1.Try {
	tries = append(slices.Clone(tries), t)
	if len(tries) > firstTries+lastTries {
		tries = slices.Delete(tries, firstTries, firstTries+1)
	}
	return tries
}

// endingOf is how an attempt ended that the job does not end with.
func endingOf(a *statev1.Attempt) string {
	switch {
	case a.GetState() == corev1.AttemptState_ATTEMPT_STATE_LOST:
		return endLost
	case a.GetState() == corev1.AttemptState_ATTEMPT_STATE_REJECTED:
		return endRejected
	case a.GetEvicted() != "":
		return endEvicted
	}
	return endFailure
}

func resultOf(ending string) corev1.Result {
	switch ending {
	case endSuccess:
		return corev1.Result_RESULT_SUCCESS
	case endFailure, endTimedOut:
		return corev1.Result_RESULT_FAILURE
	case endCancelled, endEvicted:
		return corev1.Result_RESULT_CANCELLED
	}
	return corev1.Result_RESULT_UNSPECIFIED
}

// triesBefore are a job's tries in earlier attempts of the run.
func (r *run) triesBefore(old *statev1.JobRecord) []*corev1.Try {
	a := old.GetAttempt()
	if a == nil || !lifecycle.Job.IsTerminal(old.GetState()) {
		return old.GetTries()
	}
	ending := endFailure
	switch old.GetState() {
	case corev1.JobState_JOB_STATE_SUCCEEDED:
		ending = endSuccess
	case corev1.JobState_JOB_STATE_CANCELLED:
		ending = endCancelled
	case corev1.JobState_JOB_STATE_TIMED_OUT:
		ending = endTimedOut
	default:
		if a.GetState() == corev1.AttemptState_ATTEMPT_STATE_LOST {
			ending = endLost
		}
	}
	return addTry(old.GetTries(), &corev1.Try{Number: a.GetNumber(), AttemptId: a.GetId(), Agent: a.GetAgentId(), Ending: ending, Result: resultOf(ending),
		Reason: clip(cmp.Or(old.GetFailure().GetMessage(), old.GetReason()), maxLabel), OfferedMs: a.GetOfferedMs(), EndedMs: old.GetEndedMs(), RunAttempt: attemptOf(r.earlier.def)})
}

// flaky says whether a job succeeded, but only when it, or a step of it, was tried again after a failure. What was lost with its agent, rejected
// or evicted says nothing of the job.
func flaky(rec *statev1.JobRecord) bool {
	if rec.GetState() != corev1.JobState_JOB_STATE_SUCCEEDED {
		return false
	}
	return slices.ContainsFunc(rec.GetTries(), func(t *corev1.Try) bool { return t.GetEnding() == endFailure || t.GetEnding() == endTimedOut }) ||
		slices.ContainsFunc(rec.GetAttempt().GetSteps(), func(s *corev1.StepStatus) bool {
			return s.GetTries() > 1 && s.GetOutcome() == corev1.Result_RESULT_SUCCESS
		})
}
