package lifecycle

import (
	"errors"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Events of a job.
const (
	// JobGate: what it needs is there, but a gate holds it.
	JobGate Event = "gate"
	// JobReady: it may take an agent.
	JobReady Event = "ready"
	// JobOpen: it is a call, and the jobs of its workflow begin. A call has no attempt; its end follows from theirs.
	JobOpen Event = "open"
	// JobSkip: its condition is false.
	JobSkip Event = "skip"
	// JobInvalid: an expression of it can't be evaluated.
	JobInvalid Event = "invalid"
	// JobAssign: the scheduler found an agent.
	JobAssign Event = "assign"
	// JobStart: its attempt runs.
	JobStart Event = "start"
	// JobCancel: end it.
	JobCancel Event = "cancel"
	// JobRetry: its attempt ended without a result, or with one that is to be tried again.
	JobRetry     Event = "retry"
	JobSucceeded Event = "succeeded"
	JobFailed    Event = "failed"
	JobTimedOut  Event = "timed-out"
	JobCancelled Event = "cancelled"
	// How a call ended.
	JobCallSucceeded Event = "call-succeeded"
	JobCallFailed    Event = "call-failed"
	JobCallCancelled Event = "call-cancelled"
	JobCallSkipped   Event = "call-skipped"
)

// JobArgs is what a job's transitions may use.
type JobArgs struct {
	// Now in Unix milliseconds by the leader's clock.
	Now     int64
	Reason  string
	Failure *corev1.Failure
	// Attempt is the new one, for JobAssign.
	Attempt *statev1.Attempt
	Outputs []*corev1.Output
}

const (
	jobBlocked    = corev1.JobState_JOB_STATE_BLOCKED
	jobWaiting    = corev1.JobState_JOB_STATE_WAITING
	jobQueued     = corev1.JobState_JOB_STATE_QUEUED
	jobAssigned   = corev1.JobState_JOB_STATE_ASSIGNED
	jobRunning    = corev1.JobState_JOB_STATE_RUNNING
	jobCancelling = corev1.JobState_JOB_STATE_CANCELLING
	jobSucceeded  = corev1.JobState_JOB_STATE_SUCCEEDED
	jobFailed     = corev1.JobState_JOB_STATE_FAILED
	jobTimedOut   = corev1.JobState_JOB_STATE_TIMED_OUT
	jobCancelled  = corev1.JobState_JOB_STATE_CANCELLED
	jobSkipped    = corev1.JobState_JOB_STATE_SKIPPED
)

var (
	jobIdle   = []corev1.JobState{jobBlocked, jobWaiting, jobQueued}
	jobHeld   = []corev1.JobState{jobAssigned, jobRunning, jobCancelling}
	jobActive = []corev1.JobState{jobAssigned, jobRunning}
	jobOpen   = []corev1.JobState{jobRunning, jobCancelling}
)

var (
	errNoAttempt      = errors.New("no attempt is given")
	errAttemptNumber  = errors.New("the attempt's number does not follow the last one's")
	errAttemptLives   = errors.New("its attempt has not ended")
	errNeedsNoFailure = errors.New("a failed job says why")
	errHasAttempt     = errors.New("it has an attempt, so it is no call")
)

// Job is the machine of a job.
var Job = &Machine[corev1.JobState, *statev1.JobRecord, JobArgs]{
	Name:     "job",
	Initial:  []corev1.JobState{jobBlocked},
	Terminal: []corev1.JobState{jobSucceeded, jobFailed, jobTimedOut, jobCancelled, jobSkipped},
	State:    func(r *statev1.JobRecord) corev1.JobState { return r.GetState() },
	Set:      func(r *statev1.JobRecord, s corev1.JobState) { r.State = s },
	Rules: []Rule[corev1.JobState, *statev1.JobRecord, JobArgs]{
		{Event: JobGate, From: []corev1.JobState{jobBlocked, jobWaiting}, To: jobWaiting,
			Apply: func(r *statev1.JobRecord, a JobArgs) { r.Reason = a.Reason }},
		{Event: JobReady, From: []corev1.JobState{jobBlocked, jobWaiting}, To: jobQueued,
			Apply: func(r *statev1.JobRecord, a JobArgs) { r.QueuedMs, r.Reason = a.Now, "" }, Tasks: []Task{TaskSchedule}},
		{Event: JobOpen, From: []corev1.JobState{jobBlocked, jobWaiting}, To: jobRunning,
			Apply: func(r *statev1.JobRecord, a JobArgs) { r.StartedMs, r.Reason = a.Now, "" }},
		{Event: JobSkip, From: []corev1.JobState{jobBlocked, jobWaiting}, To: jobSkipped, Apply: endJob},
		{Event: JobInvalid, From: []corev1.JobState{jobBlocked, jobWaiting, jobQueued}, To: jobFailed, Apply: endJob, Guard: saysWhy},
		{Event: JobAssign, From: []corev1.JobState{jobQueued}, To: jobAssigned, Guard: newAttempt,
			Apply: func(r *statev1.JobRecord, a JobArgs) { r.Attempt, r.Reason = a.Attempt, "" }, Tasks: []Task{TaskOffer}},
		{Event: JobStart, From: []corev1.JobState{jobAssigned}, To: jobRunning,
			Apply: func(r *statev1.JobRecord, a JobArgs) { r.StartedMs = a.Now }},
		{Event: JobCancel, From: jobIdle, To: jobCancelled, Apply: endJob},
		{Event: JobCancel, From: jobActive, To: jobCancelling,
			Apply: func(r *statev1.JobRecord, a JobArgs) {
				r.Reason = a.Reason
				if r.GetAttempt() != nil {
					r.Attempt.CancelRequested = true
				}
			}, Tasks: []Task{TaskCancelAttempt}},
		{Event: JobEvict, From: []corev1.JobState{jobAssigned}, To: jobAssigned, Guard: mayEvict, Apply: evictJob, Tasks: []Task{TaskCancelAttempt}},
		{Event: JobEvict, From: []corev1.JobState{jobRunning}, To: jobRunning, Guard: mayEvict, Apply: evictJob, Tasks: []Task{TaskCancelAttempt}},
		{Event: JobRetry, From: jobActive, To: jobQueued, NewAttempt: true, Guard: attemptEnded,
			Apply: func(r *statev1.JobRecord, a JobArgs) { r.QueuedMs, r.StartedMs, r.Reason = a.Now, 0, a.Reason }, Tasks: []Task{TaskSchedule}},
		{Event: JobSucceeded, From: jobHeld, To: jobSucceeded, Apply: endJob, Guard: attemptEnded},
		{Event: JobFailed, From: jobHeld, To: jobFailed, Apply: endJob, Guard: func(r *statev1.JobRecord, a JobArgs) error {
			return errors.Join(attemptEnded(r, a), saysWhy(r, a))
		}},
		{Event: JobTimedOut, From: jobHeld, To: jobTimedOut, Apply: endJob, Guard: attemptEnded},
		{Event: JobCancelled, From: jobHeld, To: jobCancelled, Apply: endJob, Guard: attemptEnded},
		{Event: JobCallSucceeded, From: jobOpen, To: jobSucceeded, Apply: endJob, Guard: isCall},
		{Event: JobCallFailed, From: jobOpen, To: jobFailed, Apply: endJob, Guard: func(r *statev1.JobRecord, a JobArgs) error {
			return errors.Join(isCall(r, a), saysWhy(r, a))
		}},
		{Event: JobCallCancelled, From: jobOpen, To: jobCancelled, Apply: endJob, Guard: isCall},
		{Event: JobCallSkipped, From: jobOpen, To: jobSkipped, Apply: endJob, Guard: isCall},
	},
}

func endJob(r *statev1.JobRecord, a JobArgs) {
	r.EndedMs, r.Failure, r.Outputs = a.Now, a.Failure, a.Outputs
	if a.Reason != "" {
		r.Reason = a.Reason
	}
}

func newAttempt(r *statev1.JobRecord, a JobArgs) error {
	switch {
	case a.Attempt == nil:
		return errNoAttempt
	case a.Attempt.GetNumber() != r.GetAttempt().GetNumber()+1:
		return errAttemptNumber
	}
	return nil
}

func attemptEnded(r *statev1.JobRecord, _ JobArgs) error {
	if !Attempt.IsTerminal(r.GetAttempt().GetState()) {
		return errAttemptLives
	}
	return nil
}

func isCall(r *statev1.JobRecord, _ JobArgs) error {
	if r.GetAttempt() != nil {
		return errHasAttempt
	}
	return nil
}

func saysWhy(_ *statev1.JobRecord, a JobArgs) error {
	if a.Failure.GetCode() == "" {
		return errNeedsNoFailure
	}
	return nil
}
