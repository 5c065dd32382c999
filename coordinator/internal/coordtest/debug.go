package coordtest

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// HeldJob is a held job's pod that the fake lets people into.
type HeldJob struct {
	// Agent that holds it, and the attempt.
	Agent, Attempt string
	// Opened are the sessions that began, Closed those that ended.
	Opened []engine.DebugRequest
	Closed []engine.DebugEnd
}

// Hold makes a job held: "RUN/JOB".
func (c *Control) Hold(job string, h *HeldJob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[string]*HeldJob{}
	}
	c.held[job] = h
}

// OpenDebug implements engine.DebugControl.
func (c *Control) OpenDebug(_ context.Context, r engine.DebugRequest) (engine.DebugTicket, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.held[r.Run+"/"+r.Job]
	if h == nil {
		return engine.DebugTicket{}, rpcerr.New(rpcerr.NotHeld, "job %s is not held", r.Job)
	}
	s := c.sessions[h.Agent]
	if s == nil {
		return engine.DebugTicket{}, rpcerr.New(rpcerr.AgentAway, "agent %s is away", h.Agent)
	}
	h.Opened = append(h.Opened, r)
	s.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Attach{Attach: &fleetv1.Attach{SessionId: r.SessionID, AttemptId: h.Attempt,
		Command: r.Command, Tty: r.TTY, Term: r.Term, Size: r.Size}}})
	return engine.DebugTicket{RunID: r.Run, JobID: r.Job, AttemptID: h.Attempt, AgentID: h.Agent, Hostname: s.Hostname, Held: &corev1.Held{UntilMs: 1}}, nil
}

// CloseDebug implements engine.DebugControl.
func (c *Control) CloseDebug(_ context.Context, e engine.DebugEnd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.held[e.RunID+"/"+e.JobID]; h != nil {
		h.Closed = append(h.Closed, e)
	}
	c.event("close debug %s %d %s", e.JobID, e.ExitCode, e.Ended)
	return nil
}

// ReleaseJob implements engine.DebugControl.
func (c *Control) ReleaseJob(_ context.Context, run, job, by string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[run+"/"+job] == nil {
		return "", rpcerr.New(rpcerr.HoldOver, "job %s is not held any more", job)
	}
	delete(c.held, run+"/"+job)
	c.event("release %s by %s", job, by)
	return job, nil
}
