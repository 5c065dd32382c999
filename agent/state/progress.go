package state

import (
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Phase is how far an attempt has come; it never decreases.
type Phase int

// Phases, numbered upward with gaps.
const (
	// PhaseAccepted: nothing was done yet.
	PhaseAccepted Phase = 10
	// PhasePreparing: directories and pod are being made.
	PhasePreparing Phase = 20
	// PhaseRunning: the pod is there, steps run.
	PhaseRunning Phase = 30
	// PhaseFinishing: no further step will run.
	PhaseFinishing Phase = 40
	// PhaseDone: the result is known; report and clean-up remain.
	PhaseDone Phase = 50
)

// Progress is how far an attempt has come. No values that a step made are in it: they may be secrets.
type Progress struct {
	Phase Phase `json:"phase"`
	// StartedMS is when the attempt began, in milliseconds of the host's wall clock.
	StartedMS int64 `json:"started_ms"`
	// Seq of the last report.
	Seq uint64 `json:"seq"`
	// Steps that have begun, in order; the last one may be running.
	Steps []*Step `json:"steps,omitempty"`
	// Cancelled, with the reason, once asked to.
	Cancelled bool   `json:"cancelled,omitempty"`
	Reason    string `json:"reason,omitempty"`
	// TimedOut: the job's own deadline passed.
	TimedOut bool `json:"timed_out,omitempty"`
	// CleanupMS is when steps that outlive a cancellation must end too; 0 while there is none.
	CleanupMS int64 `json:"cleanup_ms,omitempty"`
	// Failed: a step's conclusion was failure.
	Failed bool `json:"failed,omitempty"`
	// Failure is the first thing that went wrong.
	Failure *Failure `json:"failure,omitempty"`
	// Result, in PhaseDone.
	Result corev1.Result `json:"result,omitempty"`
	// Hidden: a step declared more masks than there may be, so nothing that steps made is shown from then on.
	Hidden bool `json:"hidden,omitempty"`
	// Secrets that the attempt was given: which, never what.
	Secrets *Secrets `json:"secrets,omitempty"`
	// Hold, in PhaseDone: the pod of an attempt that failed is kept, or was.
	Hold *Hold `json:"hold,omitempty"`
}

// Secrets name what an attempt was given, so that it gets the same again.
type Secrets struct {
	Revision uint64   `json:"revision"`
	Names    []string `json:"names,omitempty"`
}

// Hold is a pod that is kept for people to look into.
type Hold struct {
	// UntilMS in milliseconds of the host's wall clock.
	UntilMS int64 `json:"until_ms"`
	// Released is why it is not kept any more; "" while it is.
	Released string `json:"released,omitempty"`
}

// Step is one step that has begun.
type Step struct {
	Number uint32           `json:"number"`
	Name   string           `json:"name"`
	State  corev1.StepState `json:"state"`
	// ID is the plan's `id:`; "" without one.
	ID         string        `json:"id,omitempty"`
	Outcome    corev1.Result `json:"outcome,omitempty"`
	Conclusion corev1.Result `json:"conclusion,omitempty"`
	ExitCode   int32         `json:"exit_code,omitempty"`
	// StartedMS and EndedMS count from the attempt's start; -1 while unknown.
	StartedMS int64    `json:"started_ms"`
	EndedMS   int64    `json:"ended_ms"`
	Failure   *Failure `json:"failure,omitempty"`
	// Tries that it took, from its `retry:`; 0 is one.
	Tries uint32 `json:"tries,omitempty"`
	// Masks is how many of the attempt's masks were known when the step began: its log is filtered with those.
	Masks int `json:"masks,omitempty"`
	// HasLog: the step has an output file. Log is known once it ended.
	HasLog bool `json:"has_log,omitempty"`
	Log    *Log `json:"log,omitempty"`
	// Annotations of the step, masked.
	Annotations []Annotation `json:"annotations,omitempty"`
}

// Log is the length and SHA-256 of a finished log.
type Log struct {
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"`
}

// Failure is corev1.Failure.
type Failure struct {
	Code    string       `json:"code"`
	Fault   corev1.Fault `json:"fault"`
	Message string       `json:"message"`
}

// Annotation is corev1.Annotation.
type Annotation struct {
	Level   string `json:"level"`
	Message string `json:"message"`
	Title   string `json:"title,omitempty"`
	File    string `json:"file,omitempty"`
	Line    uint32 `json:"line,omitempty"`
	Column  uint32 `json:"column,omitempty"`
}
