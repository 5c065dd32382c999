package coordtest

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Agent implements engine.AgentControl; agents are known by their ids while they have a session.
func (c *Control) Agent(_ context.Context, name string) (*apiv1.Agent, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sessions[name]
	if s == nil {
		return nil, rpcerr.New(rpcerr.NotFound, "there is no agent %s", name)
	}
	return &apiv1.Agent{Id: s.AgentID, Hostname: s.Hostname, Pool: s.Pool, Labels: s.Labels, State: "online"}, nil
}

// DrainAgent implements engine.AgentControl.
func (c *Control) DrainAgent(ctx context.Context, r engine.DrainRequest) (*apiv1.Agent, error) {
	a, err := c.Agent(ctx, r.Agent)
	if err != nil {
		return nil, err
	}
	c.event("drain %s %s by %s: %s", r.Agent, r.Deadline, r.By, r.Reason)
	a.Drain = &apiv1.AgentDrain{By: r.By, Reason: r.Reason}
	return a, nil
}

// ResumeAgent implements engine.AgentControl.
func (c *Control) ResumeAgent(ctx context.Context, name string) (*apiv1.Agent, error) {
	c.event("resume %s", name)
	return c.Agent(ctx, name)
}

// RemoveAgent implements engine.AgentControl.
func (c *Control) RemoveAgent(ctx context.Context, r engine.RemoveRequest) (string, error) {
	a, err := c.Agent(ctx, r.Agent)
	c.event("remove %s %v by %s", r.Agent, r.Force, r.By)
	return a.GetId(), err
}

// AgentDrains implements engine.AgentControl.
func (c *Control) AgentDrains(agentID, _ string, d *fleetv1.Drain) {
	c.event("drains %s %d %s", agentID, d.GetDeadlineMs(), d.GetReason())
}

// AgentCondition implements engine.AgentControl.
func (c *Control) AgentCondition(agentID, _ string, held uint32, problems []string) {
	c.event("condition %s %d %q", agentID, held, problems)
}
