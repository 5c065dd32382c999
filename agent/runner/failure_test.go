package runner

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func TestExitFailure(t *testing.T) {
	died := []sandbox.ServiceEnd{{Name: "db", Code: 2, Log: "panic"}}
	for name, c := range map[string]struct {
		exit  sandbox.Exit
		code  string
		fault corev1.Fault
		says  string
	}{
		"exit code":        {sandbox.Exit{Code: 3}, codeStepFailed, user, "exit code 3"},
		"signal":           {sandbox.Exit{Code: 139, Signal: 11}, codeStepFailed, user, "signal 11"},
		"time-out":         {sandbox.Exit{Code: 143, Signal: 15, TimedOut: true}, codeTimedOut, user, "longer than 1m0s"},
		"TERM ignored":     {sandbox.Exit{Code: 137, Signal: 9, TimedOut: true, Killed: true}, codeTimedOut, user, "killed after 10s"},
		"a hanging step":   {sandbox.Exit{Code: 143, TimedOut: true, Services: died}, codeTimedOut, user, "service db had ended"},
		"memory":           {sandbox.Exit{Code: 137, Signal: 9, OOMKilled: true}, codeOOM, user, "resources: memory"},
		"not found":        {sandbox.Exit{Code: 127, NotStarted: true, Message: "x: not found"}, codeCannotStart, user, "x: not found"},
		"no room":          {sandbox.Exit{Code: 126, NotStarted: true, Cause: sandbox.CauseProcesses, Message: "limit"}, codeProcesses, user, "limit"},
		"forks refused":    {sandbox.Exit{Code: 2, ForksRefused: 4}, codeProcesses, user, "resources: pids"},
		"a full disk":      {sandbox.Exit{Code: 1, Disks: []sandbox.DiskFault{{Path: "/w"}}}, codeDiskFull, system, "/w is full"},
		"a read-only disk": {sandbox.Exit{Code: 1, Disks: []sandbox.DiskFault{{Path: "/w", ReadOnly: true}}}, codeReadOnly, system, "/w has become read-only"},
		"a dead service":   {sandbox.Exit{Code: 1, Services: died}, codeUnhealthy, user, "panic"},
	} {
		f := exitFailure(c.exit, sandbox.StepSpec{Timeout: time.Minute, Grace: 10 * time.Second})
		if f == nil || f.Code != c.code || f.Fault != c.fault || !strings.Contains(f.Message, c.says) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := exitFailure(sandbox.Exit{OOMKilled: true, Services: died}, sandbox.StepSpec{}); f != nil {
		t.Errorf("exit code 0 is a failure: %+v", f)
	}
}

func TestSandboxFailure(t *testing.T) {
	image := func(r sandbox.ImageReason) error { return &sandbox.ImageError{Reason: r, Err: errors.New("x")} }
	for _, c := range []struct {
		err   error
		code  string
		fault corev1.Fault
	}{
		{errors.New("x"), codeSandbox, system},
		{&sandbox.LostError{Reason: sandbox.LostShim}, codeLost, system},
		{&sandbox.LostError{Reason: sandbox.LostOutOfMemory}, codeOOM, user},
		{sandbox.ErrImage, codeImage, system},
		{image(sandbox.ImageNotFound), codeImage, user},
		{image(sandbox.ImageUnauthorised), codeImage, system},
		{image(sandbox.ImageUnreachable), codeImage, system},
		{image(sandbox.ImageDiskFull), codeDiskFull, system},
		{&sandbox.ServiceError{Reason: sandbox.ServiceDied, Err: errors.New("x")}, codeUnhealthy, user},
		{fmt.Errorf("x: %w", syscall.ENOSPC), codeDiskFull, system},
		{fmt.Errorf("x: %w", syscall.EROFS), codeReadOnly, system},
	} {
		if code, fault := sandboxFailure(codeSandbox, fmt.Errorf("wrapped: %w", c.err)); code != c.code || fault != c.fault {
			t.Errorf("%v: %s, %s", c.err, code, fault)
		}
	}
}
