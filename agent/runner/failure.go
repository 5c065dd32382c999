package runner

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/state"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// More codes of failures: what a sandbox can tell of a step or a pod.
const (
	codeDiskFull  = "disk-full"
	codeReadOnly  = "disk-read-only"
	codeProcesses = "process-limit"
	codeWorkspace = "workspace-full"
)

// exitFailure says what a step's ending means, and whose fault it is; nil for a success.
func exitFailure(exit sandbox.Exit, spec sandbox.StepSpec) *state.Failure {
	f := &state.Failure{Code: codeStepFailed, Fault: user, Message: exit.Explain()}
	switch exit.Kind() {
	case sandbox.KindSucceeded:
		return nil
	case sandbox.KindTimedOut:
		f.Code = codeTimedOut
		f.Message = fmt.Sprintf("the step ran longer than %s", spec.Timeout)
		if exit.Killed {
			f.Message += ", did not end on TERM and was killed after " + spec.Grace.String()
		}
		for _, s := range exit.Services {
			f.Message += "; " + s.String()
		}
	case sandbox.KindOutOfMemory:
		f.Code = codeOOM
	case sandbox.KindCannotStart:
		f.Code = codeCannotStart
		if exit.Cause == sandbox.CauseProcesses {
			f.Code = codeProcesses
		}
	case sandbox.KindProcessLimit:
		f.Code = codeProcesses
	case sandbox.KindWorkspaceFull:
		f.Code = codeWorkspace
	case sandbox.KindDiskFull:
		f.Code = codeDiskFull
	case sandbox.KindReadOnly:
		f.Code = codeReadOnly
	case sandbox.KindServiceDied:
		f.Code = codeUnhealthy
	case sandbox.KindFailed, sandbox.KindSignal, sandbox.KindStopped:
	}
	if exit.OurFault() {
		f.Fault = system
	}
	return f
}

// sandboxFailure says what an error of the sandbox means; code is for one that says nothing of itself.
func sandboxFailure(code string, err error) (string, corev1.Fault) {
	var lost *sandbox.LostError
	var image *sandbox.ImageError
	switch {
	case errors.As(err, &lost):
		if lost.Reason == sandbox.LostOutOfMemory {
			return codeOOM, user
		}
		return codeLost, system
	case errors.As(err, &image):
		switch {
		case image.UserFault():
			return codeImage, user
		case image.Reason == sandbox.ImageDiskFull:
			return codeDiskFull, system
		}
		return codeImage, system
	case errors.Is(err, sandbox.ErrImage):
		return codeImage, system
	case errors.Is(err, sandbox.ErrUnhealthy):
		return codeUnhealthy, user
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return codeDiskFull, system
	case errors.Is(err, syscall.EROFS):
		return codeReadOnly, system
	default:
		return code, system
	}
}
