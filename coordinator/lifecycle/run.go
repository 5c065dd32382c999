package lifecycle

import (
	"errors"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Events of a run.
const (
	RunCreated Event = "created"
	// RunGate: its concurrency group is taken. RunCreated ends the wait.
	RunGate    Event = "gate"
	RunStarted Event = "started"
	RunCancel  Event = "cancel"
	// RunDrained: every job is in a terminal state.
	RunDrained   Event = "drained"
	RunSucceeded Event = "succeeded"
	RunFailed    Event = "failed"
	RunCancelled Event = "cancelled"
	RunSkipped   Event = "skipped"
)

// RunArgs is what a run's transitions may use.
type RunArgs struct {
	// Now in Unix milliseconds by the leader's clock.
	Now     int64
	Reason  string
	Failure *corev1.Failure
	// JobsCancelled: nobody cancelled the run, but jobs of it were, and none failed.
	JobsCancelled bool
}

// Short names of the states, for the tables.
const (
	runCreating   = corev1.RunState_RUN_STATE_CREATING
	runWaiting    = corev1.RunState_RUN_STATE_WAITING
	runQueued     = corev1.RunState_RUN_STATE_QUEUED
	runRunning    = corev1.RunState_RUN_STATE_RUNNING
	runCancelling = corev1.RunState_RUN_STATE_CANCELLING
	runFinishing  = corev1.RunState_RUN_STATE_FINISHING
	runSucceeded  = corev1.RunState_RUN_STATE_SUCCEEDED
	runFailed     = corev1.RunState_RUN_STATE_FAILED
	runCancelled  = corev1.RunState_RUN_STATE_CANCELLED
	runSkipped    = corev1.RunState_RUN_STATE_SKIPPED
)

var errNotCancelled = errors.New("nobody asked to cancel the run, or a job of it")

// Run is the machine of a run's header.
var Run = &Machine[corev1.RunState, *statev1.RunHeader, RunArgs]{
	Name:     "run",
	Initial:  []corev1.RunState{runCreating},
	Terminal: []corev1.RunState{runSucceeded, runFailed, runCancelled, runSkipped},
	State:    func(r *statev1.RunHeader) corev1.RunState { return r.GetState() },
	Set:      func(r *statev1.RunHeader, s corev1.RunState) { r.State = s },
	Rules: []Rule[corev1.RunState, *statev1.RunHeader, RunArgs]{
		{Event: RunGate, From: []corev1.RunState{runCreating}, To: runWaiting,
			Apply: func(r *statev1.RunHeader, a RunArgs) { r.CreatedMs, r.Reason = a.Now, a.Reason }},
		{Event: RunCreated, From: []corev1.RunState{runCreating}, To: runQueued,
			Apply: func(r *statev1.RunHeader, a RunArgs) { r.CreatedMs = a.Now }, Tasks: []Task{TaskSchedule}},
		{Event: RunCreated, From: []corev1.RunState{runWaiting}, To: runQueued,
			Apply: func(r *statev1.RunHeader, _ RunArgs) { r.Reason = "" }, Tasks: []Task{TaskSchedule}},
		{Event: RunStarted, From: []corev1.RunState{runQueued}, To: runRunning,
			Apply: func(r *statev1.RunHeader, a RunArgs) { r.StartedMs = a.Now }},
		{Event: RunCancel, From: []corev1.RunState{runCreating, runWaiting, runQueued, runRunning}, To: runCancelling,
			Apply: func(r *statev1.RunHeader, a RunArgs) {
				r.CancelRequested, r.CancelReason, r.Reason = true, a.Reason, ""
			}},
		{Event: RunDrained, From: []corev1.RunState{runQueued, runRunning, runCancelling}, To: runFinishing},
		{Event: RunSucceeded, From: []corev1.RunState{runFinishing}, To: runSucceeded, Apply: endRun, Tasks: []Task{TaskSeal}},
		{Event: RunFailed, From: []corev1.RunState{runFinishing}, To: runFailed, Apply: endRun, Tasks: []Task{TaskSeal}},
		{Event: RunCancelled, From: []corev1.RunState{runFinishing}, To: runCancelled, Apply: endRun, Tasks: []Task{TaskSeal},
			Guard: func(r *statev1.RunHeader, a RunArgs) error {
				if !r.GetCancelRequested() && !a.JobsCancelled {
					return errNotCancelled
				}
				return nil
			}},
		{Event: RunSkipped, From: []corev1.RunState{runFinishing}, To: runSkipped, Apply: endRun, Tasks: []Task{TaskSeal}},
	},
}

func endRun(r *statev1.RunHeader, a RunArgs) {
	r.EndedMs = a.Now
	if a.Failure != nil {
		r.Failure = a.Failure
	}
}
