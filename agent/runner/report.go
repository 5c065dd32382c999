package runner

import (
	"github.com/slipway-ci/slipway/agent/state"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Codes of failures, as corev1.Failure lists them.
const (
	codeStepFailed  = "step-failed"
	codeTimedOut    = "timed-out"
	codeOOM         = "out-of-memory"
	codeImage       = "image-unavailable"
	codeUnhealthy   = "service-unhealthy"
	codeLost        = "lost"
	codeSandbox     = "sandbox"
	codeInternal    = "internal"
	codeInvalid     = "invalid-job"
	codeUnsupported = "unsupported"
	codeCancelled   = "cancelled"
	codeCannotStart = "cannot-execute"
	codeTooMany     = "too-many-masks"
)

const (
	user   = corev1.Fault_FAULT_USER
	system = corev1.Fault_FAULT_SYSTEM
)

// fail notes why the attempt fails; the first reason stays.
func (t *Attempt) fail(code string, fault corev1.Fault, message string) {
	t.p.Failed = true
	if t.p.Failure == nil {
		t.p.Failure = &state.Failure{Code: code, Fault: fault, Message: t.values.public(message, maxMessage)}
	}
}

// save records the progress in one transaction and reports it. A record that can't be written costs no job: this
// process goes on, only a restart would begin at an older point.
func (t *Attempt) save() {
	t.p.Seq++
	if err := t.d.DB.Save(t.id, t.p); err != nil {
		t.log.Error("the attempt's progress could not be recorded", "error", err)
	} else {
		t.release()
	}
	t.d.Report(t.report())
}

// release lets go of what a restart would have needed to end the steps that are recorded now.
func (t *Attempt) release() {
	for _, l := range t.unreleased {
		l.Release()
	}
	t.unreleased = t.unreleased[:0]
	for _, n := range t.spent {
		if err := t.commandsRoot().RemoveAll(stepDir(n)); err != nil {
			t.log.Warn("a step's command files could not be removed", "step", n, "error", err)
		}
	}
	t.spent = t.spent[:0]
}

func (t *Attempt) attemptState() corev1.AttemptState {
	switch {
	case t.p.Phase == state.PhaseDone:
		return corev1.AttemptState_ATTEMPT_STATE_DONE
	case t.p.Phase == state.PhaseFinishing:
		return corev1.AttemptState_ATTEMPT_STATE_FINISHING
	case t.p.Cancelled || t.p.TimedOut:
		return corev1.AttemptState_ATTEMPT_STATE_CANCELLING
	case t.p.Phase == state.PhaseRunning:
		return corev1.AttemptState_ATTEMPT_STATE_RUNNING
	case t.p.Phase == state.PhasePreparing:
		return corev1.AttemptState_ATTEMPT_STATE_PREPARING
	default:
		return corev1.AttemptState_ATTEMPT_STATE_ACCEPTED
	}
}

func (t *Attempt) report() *corev1.Report {
	r := &corev1.Report{AttemptId: t.id, Seq: t.p.Seq, State: t.attemptState(), TimedOut: t.p.TimedOut, Failure: failureOf(t.p.Failure)}
	for _, s := range t.p.Steps {
		r.Steps = append(r.Steps, &corev1.StepStatus{
			Number: s.Number, Name: s.Name, State: s.State, Outcome: s.Outcome, Conclusion: s.Conclusion,
			ExitCode: s.ExitCode, StartedMs: s.StartedMS, EndedMs: s.EndedMS, Failure: failureOf(s.Failure), Tries: s.Tries,
		})
		for _, a := range s.Annotations {
			r.Annotations = append(r.Annotations, &corev1.Annotation{
				Level: a.Level, Message: a.Message, Title: a.Title, File: a.File, Line: a.Line, Column: a.Column, Step: s.Number,
			})
		}
	}
	if t.p.Phase != state.PhaseDone {
		return r
	}
	r.Result, r.HeldMs = t.p.Result, t.heldMS()
	if t.p.Hold != nil {
		r.Released = t.p.Hold.Released
	}
	for _, s := range t.p.Steps {
		if s.Log != nil {
			r.Logs = append(r.Logs, &corev1.LogSum{Step: s.Number, Length: s.Log.Length, Sha256: s.Log.SHA256})
		}
	}
	for _, o := range t.values.outputs {
		r.Outputs = append(r.Outputs, &corev1.Output{Name: o.Name, Value: o.Value})
	}
	return r
}

func failureOf(f *state.Failure) *corev1.Failure {
	if f == nil {
		return nil
	}
	return &corev1.Failure{Code: f.Code, Fault: f.Fault, Message: f.Message}
}
