package engine

import (
	"context"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// DebugControl is the part of Control about pods of failed jobs that are held. A run is named as in Run; a job by its instance id, its key or its
// name, or by "" if only one of the run is held. Errors beside Control's: NOT_FAILED, NOT_HELD, HOLD_OVER, POLICY_REFUSED, AGENT_AWAY, IN_USE.
type DebugControl interface {
	// OpenDebug begins a session: it is in the job's record, and the agent is asked to attach. Whoever opened it must close it.
	OpenDebug(ctx context.Context, r DebugRequest) (DebugTicket, error)
	// CloseDebug notes how a session ended; nil if it is closed already.
	CloseDebug(ctx context.Context, e DebugEnd) error
	// ReleaseJob lets a pod go, and returns the job's instance id. HOLD_OVER if that has happened.
	ReleaseJob(ctx context.Context, run, job, by string) (jobID string, err error)
}

// DebugRequest asks for a command in a held pod.
type DebugRequest struct {
	// SessionID is the caller's, unique for ever.
	SessionID, Run, Job, User string
	// Command; empty is a shell.
	Command []string
	// Step whose container, directory and environment the command gets; 0 is the one that failed.
	Step uint32
	TTY  bool
	// Term is the TERM of the user's terminal.
	Term string
	Size *corev1.TerminalSize
	// End is called when the session must end before its command does: at most once, from the engine's goroutine; it must not block.
	End func(reason error)
}

// DebugTicket is where a session goes.
type DebugTicket struct {
	RunID, JobID, AttemptID, AgentID, Hostname string
	Held                                       *corev1.Held
	// Over is closed when the engine that gave it leads no more.
	Over <-chan struct{}
}

// DebugEnd is how a session ended.
type DebugEnd struct {
	SessionID, RunID, JobID string
	ExitCode                int32
	// Ended says why, if not by its command's end.
	Ended             string
	BytesIn, BytesOut int64
}
