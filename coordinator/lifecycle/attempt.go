package lifecycle

import (
	"errors"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Events of an attempt.
const (
	AttemptAccept Event = "accept"
	AttemptReject Event = "reject"
	// AttemptLost: its agent is gone for longer than the grace, or no longer holds it.
	AttemptLost Event = "lost"
	// The rest are what a report says.
	AttemptReportAccepted   Event = "report-accepted"
	AttemptReportPreparing  Event = "report-preparing"
	AttemptReportRunning    Event = "report-running"
	AttemptReportCancelling Event = "report-cancelling"
	AttemptReportFinishing  Event = "report-finishing"
	AttemptReportDone       Event = "report-done"
)

// AttemptArgs is what an attempt's transitions may use.
type AttemptArgs struct {
	// Report, for the report events.
	Report *corev1.Report
}

const (
	attemptOffered    = corev1.AttemptState_ATTEMPT_STATE_OFFERED
	attemptAccepted   = corev1.AttemptState_ATTEMPT_STATE_ACCEPTED
	attemptPreparing  = corev1.AttemptState_ATTEMPT_STATE_PREPARING
	attemptRunning    = corev1.AttemptState_ATTEMPT_STATE_RUNNING
	attemptCancelling = corev1.AttemptState_ATTEMPT_STATE_CANCELLING
	attemptFinishing  = corev1.AttemptState_ATTEMPT_STATE_FINISHING
	attemptDone       = corev1.AttemptState_ATTEMPT_STATE_DONE
	attemptRejected   = corev1.AttemptState_ATTEMPT_STATE_REJECTED
	attemptLost       = corev1.AttemptState_ATTEMPT_STATE_LOST
)

// attemptOrder is every state in which an attempt lives, in order.
var attemptOrder = []corev1.AttemptState{attemptOffered, attemptAccepted, attemptPreparing, attemptRunning, attemptCancelling, attemptFinishing}

var (
	errNoReport  = errors.New("no report is given")
	errOldReport = errors.New("a later report was applied already")
	errNoResult  = errors.New("a report of state done must have a result")
)

// Attempt is the machine of an attempt.
var Attempt = &Machine[corev1.AttemptState, *statev1.Attempt, AttemptArgs]{
	Name:     "attempt",
	Initial:  []corev1.AttemptState{attemptOffered},
	Terminal: []corev1.AttemptState{attemptDone, attemptRejected, attemptLost},
	State:    func(a *statev1.Attempt) corev1.AttemptState { return a.GetState() },
	Set:      func(a *statev1.Attempt, s corev1.AttemptState) { a.State = s },
	Rules: []Rule[corev1.AttemptState, *statev1.Attempt, AttemptArgs]{
		{Event: AttemptAccept, From: []corev1.AttemptState{attemptOffered}, To: attemptAccepted},
		{Event: AttemptReject, From: []corev1.AttemptState{attemptOffered}, To: attemptRejected, Tasks: []Task{TaskRelease}},
		{Event: AttemptLost, From: attemptOrder, To: attemptLost, Tasks: []Task{TaskRelease, TaskKillAttempt}},
		reported(AttemptReportAccepted, attemptAccepted),
		reported(AttemptReportPreparing, attemptPreparing),
		reported(AttemptReportRunning, attemptRunning),
		reported(AttemptReportCancelling, attemptCancelling),
		reported(AttemptReportFinishing, attemptFinishing),
		{Event: AttemptReportDone, From: attemptOrder, To: attemptDone, Guard: func(a *statev1.Attempt, args AttemptArgs) error {
			if args.Report.GetResult() == corev1.Result_RESULT_UNSPECIFIED {
				return errors.Join(newReport(a, args), errNoResult)
			}
			return newReport(a, args)
		}, Apply: takeReport, Tasks: []Task{TaskRelease}},
	},
}

// ReportEvent returns the event of a report's state; "" if a report can't have that state.
func ReportEvent(s corev1.AttemptState) Event {
	switch s {
	case attemptAccepted:
		return AttemptReportAccepted
	case attemptPreparing:
		return AttemptReportPreparing
	case attemptRunning:
		return AttemptReportRunning
	case attemptCancelling:
		return AttemptReportCancelling
	case attemptFinishing:
		return AttemptReportFinishing
	case attemptDone:
		return AttemptReportDone
	case corev1.AttemptState_ATTEMPT_STATE_UNSPECIFIED, attemptOffered, attemptRejected, attemptLost:
	}
	return ""
}

// reported leads from every earlier state, and from the same one (steps change while the state stays), to to.
func reported(e Event, to corev1.AttemptState) Rule[corev1.AttemptState, *statev1.Attempt, AttemptArgs] {
	var from []corev1.AttemptState
	for _, s := range attemptOrder {
		if s <= to {
			from = append(from, s)
		}
	}
	return Rule[corev1.AttemptState, *statev1.Attempt, AttemptArgs]{Event: e, From: from, To: to, Guard: newReport, Apply: takeReport}
}

func newReport(a *statev1.Attempt, args AttemptArgs) error {
	switch {
	case args.Report == nil:
		return errNoReport
	case args.Report.GetSeq() <= a.GetSeq():
		return errOldReport
	}
	return nil
}

func takeReport(a *statev1.Attempt, args AttemptArgs) {
	a.Seq, a.Steps = args.Report.GetSeq(), args.Report.GetSteps()
	if len(args.Report.GetLogs()) > 0 {
		a.Logs = args.Report.GetLogs()
	}
}

// Started says whether any step of the attempt had begun: if so, a lost attempt is not simply tried again. Step 0 ("Set up job") is ours.
func Started(a *statev1.Attempt) bool {
	for _, s := range a.GetSteps() {
		if s.GetNumber() > 0 && s.GetState() >= corev1.StepState_STEP_STATE_RUNNING && s.GetState() != corev1.StepState_STEP_STATE_SKIPPED {
			return true
		}
	}
	return false
}
