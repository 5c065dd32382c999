package sandbox

import (
	"fmt"
	"strings"
)

// Kind says in one word how a step ended. Stable: programs and tests may compare it.
type Kind string

// The kinds of endings of a step. Ones of a pod are errors: ErrPodLost, ErrImage, ErrUnhealthy.
const (
	// KindSucceeded: exit code 0, whatever happened on the way.
	KindSucceeded Kind = "succeeded"
	// KindFailed: another exit code, and nothing that explains it better.
	KindFailed Kind = "failed"
	// KindSignal: a signal that neither the kernel's want of memory nor the sandbox sent.
	KindSignal Kind = "signal"
	// KindTimedOut: the step's own time was up.
	KindTimedOut Kind = "timed-out"
	// KindStopped: Stop ended it.
	KindStopped Kind = "stopped"
	// KindCannotStart: the command did not run; Cause says why.
	KindCannotStart Kind = "cannot-start"
	// KindOutOfMemory: the kernel killed a process of the step for want of memory.
	KindOutOfMemory Kind = "out-of-memory"
	// KindProcessLimit: the pod's limit of processes refused a fork.
	KindProcessLimit Kind = "process-limit"
	// KindDiskFull: a file system that the step writes to is full.
	KindDiskFull Kind = "disk-full"
	// KindWorkspaceFull: the pod had written more than any other while the host's disk became full.
	KindWorkspaceFull Kind = "workspace-full"
	// KindReadOnly: a file system that the step should write to has become read-only.
	KindReadOnly Kind = "read-only"
	// KindServiceDied: the step failed while a service of the pod was dead.
	KindServiceDied Kind = "service-died"
)

// Cause is why a command did not run.
type Cause string

// The causes of KindCannotStart; "" is another one, which Exit.Message tells.
const (
	CauseNotFound      Cause = "not-found"
	CauseNotExecutable Cause = "not-executable"
	CauseDirectory     Cause = "directory"
	CauseUser          Cause = "user"
	CauseTooLong       Cause = "arguments-too-long"
	CauseProcesses     Cause = "no-process"
	CauseMemory        Cause = "no-memory"
	CauseBusy          Cause = "busy"
	CauseInvalid       Cause = "invalid"
)

// DiskFault is what is wrong with a file system that a step writes to.
type DiskFault struct {
	// Path is a directory on it: in the container for what is mounted there, else on the host.
	Path string
	// ReadOnly: nothing can be written. Else it is full.
	ReadOnly bool
}

func (d DiskFault) String() string {
	what := "is full: free space on the agent's host"
	if d.ReadOnly {
		what = "has become read-only: look at the host's kernel log"
	}
	return fmt.Sprintf("the file system of %s %s", d.Path, what)
}

// ServiceEnd is a service that ended while its job went on.
type ServiceEnd struct {
	Name string
	// Code is the exit code; -1 if it is not known.
	Code int
	// OOMKilled: the kernel killed a process of the service for want of memory.
	OOMKilled bool
	// Log is the end of what it wrote, for a person.
	Log string
}

func (s ServiceEnd) String() string {
	text := fmt.Sprintf("service %s had ended", s.Name)
	if s.Code >= 0 {
		text += fmt.Sprintf(" with exit code %d", s.Code)
	}
	if s.OOMKilled {
		text += ", killed by the kernel for want of memory"
	}
	if s.Log != "" {
		text += "; the end of its log:\n" + s.Log
	}
	return text
}

// Kind classifies the ending by what explains it best.
func (e Exit) Kind() Kind {
	switch {
	case e.TimedOut:
		return KindTimedOut
	case e.Stopped:
		return KindStopped
	case e.Code == 0:
		return KindSucceeded
	case e.NotStarted, e.Message != "":
		return KindCannotStart
	case e.Written > 0:
		return KindWorkspaceFull
	case e.OOMKilled:
		return KindOutOfMemory
	case e.disk(true):
		return KindReadOnly
	case e.disk(false):
		return KindDiskFull
	case e.ForksRefused > 0:
		return KindProcessLimit
	case len(e.Services) > 0:
		return KindServiceDied
	case e.Signal != 0:
		return KindSignal
	default:
		return KindFailed
	}
}

func (e Exit) disk(readOnly bool) bool {
	for _, d := range e.Disks {
		if d.ReadOnly == readOnly {
			return true
		}
	}
	return false
}

// OurFault is whether the step failed for something that its author can't help: the host's disk.
func (e Exit) OurFault() bool {
	kind := e.Kind()
	return kind == KindDiskFull || kind == KindReadOnly
}

// Explain says for a person how the step ended, why, and what to do; "" for a plain success.
func (e Exit) Explain() string {
	var parts []string
	switch e.Kind() {
	case KindTimedOut:
		parts = append(parts, "the step's time was up")
	case KindStopped:
		parts = append(parts, "the step was stopped")
	case KindSucceeded:
	case KindCannotStart:
		parts = append(parts, e.Message)
	case KindOutOfMemory:
		parts = append(parts, "the kernel killed a process of the step for want of memory; give the job more (`resources: memory`) or let it use less")
	case KindWorkspaceFull:
		parts = append(parts, fmt.Sprintf("workspace full: the job had written %d MiB, more than any other, and the agent's disk was nearly full; write less, or free space on the agent's host", e.Written>>20))
	case KindDiskFull, KindReadOnly:
		for _, d := range e.Disks {
			parts = append(parts, d.String())
		}
		parts = append(parts, e.codeText())
	case KindProcessLimit:
		parts = append(parts, fmt.Sprintf("process limit reached: %d new processes were refused (`resources: pids`)", e.ForksRefused), e.codeText())
	default:
		parts = append(parts, e.codeText())
	}
	if e.Killed {
		parts = append(parts, "it did not end on TERM and was killed after the grace")
	}
	if e.Code != 0 {
		for _, s := range e.Services {
			parts = append(parts, s.String())
		}
	}
	return strings.Join(parts, "; ")
}

func (e Exit) codeText() string {
	if e.Signal != 0 {
		return fmt.Sprintf("the process was ended by signal %d (exit code %d)", e.Signal, e.Code)
	}
	return fmt.Sprintf("Process completed with exit code %d.", e.Code)
}
